"""Camera geometry in pure numpy: pinhole camera, pixel grids, rigid transforms, LiDAR projection."""
