/* The part of math.h that the kernels use. Square roots and absolute values are instructions of WebAssembly; what is only
 * declared is called by functions that the linker leaves out. */
#define INFINITY __builtin_inff()
#define isfinite(x) __builtin_isfinite(x)
#define sqrt(x) __builtin_sqrt(x)
#define sqrtf(x) __builtin_sqrtf(x)
#define fabsf(x) __builtin_fabsf(x)
float fmaxf(float, float);
double fmax(double, double), ldexp(double, int);
