/* Byte-level work in plain C: wire formats and CRC-32C. scalar.c uses it whole, the SIMD files for their tails. */
#ifndef SONA_SCALAR_BYTES_H
#define SONA_SCALAR_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* IEEE single to half, nearest even. The three cases are normal, subnormal and overflow of the result. */
static inline uint16_t half_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return sign | 0x7e00u; /* NaN */
    if (magnitude >= 0x47800000u)
        return sign | 0x7c00u; /* 65536 and above, infinity included */
    if (magnitude >= 0x38800000u) {
        /* Normal: rebias the exponent by 127 - 15 = 112 and round 13 bits away; a carry rolls into the exponent,
         * and from the largest exponent into infinity, as it should. */
        const uint32_t odd = magnitude >> 13 & 1;
        return sign | (uint16_t)((magnitude - (112u << 23) + 0xfffu + odd) >> 13);
    }
    if (magnitude < 0x33000000u)
        return sign; /* below half of the smallest subnormal, 2^-25 */
    /* Subnormal: the result counts units of 2^-24. */
    const uint32_t shift = 126u - (magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const uint32_t half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
    return sign | (uint16_t)(half + (rest > tie || (rest == tie && (half & 1))));
}

static inline float float_from_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1fu, mantissa = half & 0x3ffu, bits;
    float value;
    if (exponent == 0) {
        value = (float)mantissa * 0x1p-24f; /* exact: zero and subnormals */
        memcpy(&bits, &value, 4);
    } else if (exponent == 31) {
        bits = 0x7f800000u | mantissa << 13 | (mantissa ? 0x400000u : 0); /* NaNs come back quiet */
    } else {
        bits = (exponent + 112) << 23 | mantissa << 13;
    }
    bits |= sign;
    memcpy(&value, &bits, 4);
    return value;
}

static inline ptrdiff_t f32_to_f16_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out)
{
    ptrdiff_t bad = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint16_t half = half_from_float(x[i]);
        bad += (half & 0x7c00u) == 0x7c00u;
        out[2 * i] = (uint8_t)(half >> 8);
        out[2 * i + 1] = (uint8_t)half;
    }
    return bad;
}

static inline void f16_be_to_f32(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out)
{
    for (ptrdiff_t i = 0; i < n; i++)
        out[i] = float_from_half((uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]));
}

static inline void f32_to_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        store_be32(out + 4 * i, bits);
    }
}

static inline void be_to_f32(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint32_t bits = load_be32(bytes + 4 * i);
        memcpy(out + i, &bits, 4);
    }
}

/* Reflected polynomial 0x82f63b78, four bits at a time: 64 bytes of table that stay in cache and need no set-up. */
static inline uint32_t crc32c(uint32_t seed, const uint8_t *bytes, ptrdiff_t n)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = ~seed;
    for (ptrdiff_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

#endif
