import pytest

from depthvlm_bench.errors import PartialError
from depthvlm_bench.predict.memory import Portions, out_of_memory


class OutOfMemoryError(RuntimeError):
    """Named as torch's and jax's are."""


class CudaOutOfMemoryError(OutOfMemoryError):
    pass


class Room:
    """Work that fits `most` items, and remembers what it was given."""

    def __init__(self, most, error=OutOfMemoryError):
        self.most, self.error, self.given = most, error, []

    def __call__(self, items):
        self.given.append(list(items))
        if len(items) > self.most:
            raise self.error("out of memory: tried to allocate 3.00 GiB\nlong story")
        return [item * 10 for item in items]


def through(portions, items, room):
    return list(portions.each(items, room, str))


def test_what_fits_is_done_at_once():
    notes = []
    room = Room(4)
    assert through(Portions(4, notes.append), [1, 2, 3], room) == [(3, [10, 20, 30])]
    assert not notes


def test_nothing_is_lost_and_nothing_done_twice():
    notes, room = [], Room(2)
    portions = Portions(8, notes.append)
    done = through(portions, list(range(8)), room)
    assert [value for _, values in done for value in values] == [10 * item for item in range(8)]
    assert [number for number, _ in done] == [2, 2, 2, 2]
    assert [len(given) for given in room.given] == [8, 4, 2, 2, 2, 2]


def test_each_halving_is_said_with_its_cause():
    notes = []
    through(Portions(4, notes.append), [1, 2, 3, 4], Room(1))
    assert len(notes) == 2
    assert "4 pictures at once: 2 from here on (out of memory: tried to allocate 3.00 GiB)" in notes[0]
    assert "2 pictures at once: 1 from here on" in notes[1]
    assert not any("long story" in note for note in notes)


def test_the_smaller_portion_stays_for_what_follows():
    portions, room = Portions(4, lambda text: None), Room(2)
    through(portions, [1, 2, 3, 4], room)
    room.given.clear()
    through(portions, [5, 6, 7], room)
    assert room.given == [[5, 6], [7]]


def test_a_short_portion_is_halved_by_its_own_length():
    portions = Portions(8, lambda text: None)
    assert [number for number, _ in through(portions, [1, 2, 3], Room(1))] == [1, 1, 1]


def test_a_single_item_that_does_not_fit_ends_the_work_by_name():
    done = []
    with pytest.raises(PartialError, match=r"single picture \[2\].*MemoryError.*same command resumes"):
        for _, values in Portions(2, lambda text: None).each([1, 2, 3], lambda items: only_odd(items), str):
            done += values
    assert done == [1]


def only_odd(items):
    if any(item % 2 == 0 for item in items):
        raise MemoryError
    return list(items)


def test_another_fault_is_none_of_this():
    with pytest.raises(RuntimeError, match="broke"):
        through(Portions(4, pytest.fail), [1, 2], Room(1, lambda text: RuntimeError("the model broke")))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError(""), True),
        (CudaOutOfMemoryError(""), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("no"), False),
    ],
)
def test_what_says_that_memory_ran_out(error, expected):
    assert out_of_memory(error) is expected


def test_torch_s_own_error_is_known():
    torch = pytest.importorskip("torch")
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))


def test_torch_s_allocator_on_the_cpu_is_known():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(caught.value)
