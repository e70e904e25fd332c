"""What a bare installation must do, outside the checkout: no matplotlib, typer or distributed, and all of the main job.

cd /tmp && python path/to/.ci/bare.py
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import xarray as xr

import xh2cm

package = Path(xh2cm.__file__).parent
assert package.parent.name == "site-packages", f"{package} is not what was installed"
assert (package / "py.typed").exists()
assert all((package / "loop" / name).exists() for name in ("cpu.cpp", "cuda.cu"))
assert "torch" not in sys.modules
assert [name for name in ("matplotlib", "typer", "distributed", "pytest") if importlib.util.find_spec(name)] == []

ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
print(ds.h2cm.check())
fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=6, progress=False)
with tempfile.TemporaryDirectory() as folder:
    kept = xh2cm.load_fit(fit.save(f"{folder}/fit"))
    written = ds.chunk(lat=2).h2cm.predict(kept, member="held-out").h2cm.to_zarr(f"{folder}/out.zarr")
    with xr.open_zarr(written) as out:
        print(out.h2cm.score(ds)["NSE_pooled"].sel(scale="monthly"))
xh2cm.show_versions()
