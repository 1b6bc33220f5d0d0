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


def extension(name: str, folder: str, stems: list[str], flags: list[str]) -> Extension:
    """The extension ``sona_pg._<name>``, of the Cython module and the C files of ``cython_ext/<folder>``."""
    return Extension(
        f"sona_pg.{name}",
        sources=[f"cython_ext/{folder}/{folder}.pyx", *(f"cython_ext/{folder}/{stem}.c" for stem in stems)],
        include_dirs=["cython_ext/kernels", "cython_ext/recorder", numpy.get_include()],
        # What sources include: a change rebuilds them, and the sdist carries it.
        depends=sorted(path for kind in ("h", "pxd", "pxi") for path in glob(f"cython_ext/*/*.{kind}")),
        define_macros=DEFINES,
        extra_compile_args=[*flags, "-std=c11", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"],
        libraries=["m", "pthread"],
    )


setup(
    ext_modules=[
        extension("_kernels", "kernels", ["dispatch", *INSTRUCTION_SETS, *ALGORITHMS], ["-O3"]),
        extension("_recorder", "recorder", ["clock", "ring", "encode", "spool"], ["-O3"]),
    ]
)
