/* The part of string.h that the kernels use: WebAssembly copies memory by itself (-mbulk-memory). */
#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset
