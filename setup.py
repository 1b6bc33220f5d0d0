"""The compiled extensions. All other metadata is in pyproject.toml.

The `.pyx` files stay in `Extension.sources`; they are translated when the extensions are built, not when this file
runs: a `cythonize()` call at the top level would replace them by generated C and drop them from the sdist. Instruction
sets are chosen by pragmas inside each C file and at run time by a CPU probe, so no `-march` flag is given and one wheel
serves every machine.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

INSTRUCTION_SETS = ["scalar", "avx2", "avx512", "neon"]
ALGORITHMS = ["topk", "routing", "pacing", "kmeans", "kmeans_fit", "kmeans_steps", "dreaming", "copy_decode"]
DEFINES = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]
# Functions begin cache lines: else code elsewhere moves the loops of the scan, which then takes 13 % longer.
FLAGS = ["-O3", "-falign-functions=64", "-std=c11", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"]
# For the C that Cython generates, after FLAGS: it has no loops to vectorize, and takes half as long to compile.
GENERATED_FLAGS = ["-O2", "-g1"]


class ParallelBuild(build_ext):
    """Compiles the extensions in parallel, and the C files of each."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count() or 1

    def build_extensions(self) -> None:
        from Cython.Build import cythonize

        # One after another: Cython is not known to be safe in threads. The generated C depends on the version of NumPy,
        # so it stays out of the source tree, where a build with another version would find it.
        includes = [folder for extension in self.extensions for folder in extension.include_dirs]
        translated = cythonize(
            self.extensions,
            include_path=includes,
            build_dir=self.build_temp,
            force=self.force,
            quiet=self.verbose == 0,
        )
        for extension, generated in zip(self.extensions, translated, strict=True):
            extension.sources = generated.sources
        compile_sources = self.compiler.compile

        def compile_in_parallel(sources: list[str], *, extra_postargs: list[str], **options: object) -> list[str]:
            def compile_one(source: str) -> list[str]:
                flags = GENERATED_FLAGS if Path(source).is_relative_to(self.build_temp) else []
                return compile_sources([source], extra_postargs=[*extra_postargs, *flags], **options)

            longest_first = sorted(sources, key=lambda source: Path(source).stat().st_size, reverse=True)
            return sorted(name for names in pool.map(compile_one, longest_first) for name in names)

        with ThreadPoolExecutor(self.parallel) as pool:
            self.compiler.compile = compile_in_parallel
            super().build_extensions()


def extension(name: str, folder: str, stems: list[str]) -> Extension:
    """Return the extension ``sona_pg.<name>`` of the Cython module and the C files ``stems`` of ``folder``."""
    return Extension(
        f"sona_pg.{name}",
        sources=[f"cython_ext/{folder}/{folder}.pyx", *(f"cython_ext/{folder}/{stem}.c" for stem in stems)],
        include_dirs=["cython_ext/kernels", "cython_ext/recorder", numpy.get_include()],
        # What sources include: a change rebuilds them, and the sdist carries it.
        depends=sorted(path for kind in ("h", "pxd", "pxi") for path in glob(f"cython_ext/*/*.{kind}")),
        define_macros=DEFINES,
        extra_compile_args=FLAGS,
        libraries=["m", "pthread"],
    )


setup(
    ext_modules=[
        extension("_recorder", "recorder", ["clock", "ring", "encode", "spool"]),
        extension("_kernels", "kernels", ["dispatch", *INSTRUCTION_SETS, *ALGORITHMS]),
    ],
    cmdclass={"build_ext": ParallelBuild},
)
