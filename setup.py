"""The compiled extensions. All other metadata is in pyproject.toml.

The `.pyx` files stay in `Extension.sources` and setuptools calls Cython itself: a `cythonize()` call here
would replace them by generated C and drop them from the sdist. Instruction sets are chosen by pragmas inside
each C file and at run time by a CPU probe, so no `-march` flag is given and one wheel serves every machine.
"""

from glob import glob

import numpy
from setuptools import Extension, setup

INSTRUCTION_SETS = ["scalar", "avx2", "avx512", "neon"]
ALGORITHMS = ["topk", "kmeans", "kmeans_fit", "kmeans_steps", "copy_decode"]
DEFINES = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]


def extension(name: str, sources: list[str]) -> Extension:
    return Extension(
        f"sona_pg.{name}",
        sources=[f"cython_ext/{source}" for source in sources],
        include_dirs=["cython_ext", numpy.get_include()],
        # What sources include: a change rebuilds them, and the sdist carries it.
        depends=sorted(path for kind in ("h", "pxd", "pxi") for path in glob(f"cython_ext/*.{kind}")),
        define_macros=DEFINES,
        extra_compile_args=["-O3", "-std=c11", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"],
        libraries=["m", "pthread"],
    )


C_FILES = [f"{stem}.c" for stem in ["dispatch", *INSTRUCTION_SETS, *ALGORITHMS]]

RECORDER = [f"{stem}.c" for stem in ["clock", "ring", "encode", "spool"]]

setup(
    ext_modules=[
        extension("_kernels", ["kernels.pyx", *C_FILES]),
        extension("_recorder", ["recorder.pyx", *RECORDER]),
    ]
)
