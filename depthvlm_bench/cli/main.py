"""The entry point: finds commands by name and turns the project's errors into one line and an exit code."""

import io
import sys
from importlib import import_module

import click

from depthvlm_bench import __version__
from depthvlm_bench.errors import DvbenchError, ExitCode

# Listed in the order of the work; each is a function `command` in the module of that name.
COMMANDS = {
    "demo": "small procedural scenes, or real samples, from raw trees to a leaderboard",
    "datasets": "what can be converted: splits, licence, size, expected tree",
    "doctor": "check a raw tree before hours are spent on it",
    "convert": "raw tree to a parquet set",
    "verify": "check a converted set against its receipts and manifest",
    "models": "what can be evaluated",
    "env": "environments of models whose dependencies clash",
    "eval": "predict and score converted evaluation sets",
    "predict": "depth, point cloud and answer for your own photographs",
    "train": "DepthVLM's two stages on converted sets: one card, many, or a CPU for a trial",
    "score": "predictions from anywhere, or those of earlier runs again",
    "compare": "two models on the same images: difference, interval, test",
    "power": "which gap between two models a set of some size can find",
    "efficiency": "what a full depth map costs: seconds, TFLOP, tokens, memory; computed or measured",
    "view": "one record, a set, or where a run errs: in the terminal, as PNG or PLY",
    "export": "a set in another project's format",
    "protocol": "how predictions become a score: show, diff",
    "leaderboard": "tables of the results, on screen and as files",
    "reproduce": "published numbers beside ours: difference, interval, verdict",
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"depthvlm_bench.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add a hint to the error for an unknown command."""
        from depthvlm_bench.errors import unknown_name

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown_name("command", args[0], COMMANDS, next_step="dvbench --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="dvbench")
def dvbench() -> None:
    """Benchmark metric depth estimation: convert datasets, run models, score them by one protocol.

    The workspace is --workspace, else $DVBENCH_HOME, else ./dvbench; it holds data/, runs/ and results/.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of the project end in one line on stderr and their exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without δ shows ? rather than nothing
    try:
        sys.exit(dvbench.main(args=arguments, prog_name="dvbench", standalone_mode=False) or ExitCode.OK)
    except DvbenchError as error:
        click.echo(f"error: {error.one_line()}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(ExitCode.USAGE)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" — next: {context.command_path} --help" if context else ""
        click.echo(f"error: {' '.join(error.format_message().split())}{hint}", err=True)
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; what is finished is kept, the same command resumes", err=True)
        sys.exit(ExitCode.PARTIAL)
    except OSError as error:
        where = f" [{error.filename}]" if error.filename else ""
        click.echo(
            f"error: {error.strerror or error}{where} — next: check the path, its rights and free disk",
            err=True,
        )
        sys.exit(ExitCode.CHECK_FAILED)


if __name__ == "__main__":
    main()
