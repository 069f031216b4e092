/* The preview decoder's arithmetic, in WebAssembly: built by `make kernels`, twice, once with
 * relaxed SIMD (a multiplication and an addition are one instruction there) and once without.
 *
 * Activations are rows of pixels of channels, float32, channels padded with zeros to a multiple of
 * 8; left and right of a row stands a pixel of zeros, above and below a picture a row of them.
 * Weights are [block of output channels][row of the window][pixel of the window, input channel]
 * [output channel of the block], as pack.ts lays them. Rows and pixels are told apart by strides in
 * bytes. Past the end of an input up to TILE - 1 pixels are read, and nothing is made of them. */

#include <wasm_simd128.h>

/* Pixels whose sums are kept in registers. With 4 and a loop that is not unrolled V8 spills none of
 * them: 6, which the 15 registers of x86-64 would hold too, took 1.8 times as long. */
#define TILE 4
#define BAND 8 /* rows that a block's weights are used for before the next block's */

#define EXPORT(name) __attribute__((export_name(#name)))
#define INLINE static inline __attribute__((always_inline))

typedef unsigned char byte;

INLINE v128_t multiply_add(v128_t a, v128_t b, v128_t sum) {
#ifdef __wasm_relaxed_simd__
  return wasm_f32x4_relaxed_madd(a, b, sum);
#else
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), sum);
#endif
}

/* `sums` of a tile: the bias, and the products of its windows of `rows` runs of `run` floats. */
INLINE void accumulate(const byte *input, int row_bytes, int pixel_bytes, int rows, int run,
                       const float *weights, const float *bias, v128_t result[TILE][2]) {
  v128_t sums[TILE][2];
  for (int pixel = 0; pixel < TILE; pixel++) {
    sums[pixel][0] = wasm_v128_load(bias);
    sums[pixel][1] = wasm_v128_load(bias + 4);
  }
  do {
    const byte *pixels[TILE];
    for (int pixel = 0; pixel < TILE; pixel++) pixels[pixel] = input + pixel * pixel_bytes;
    int left = run;
    do {
#pragma nounroll
      for (int lane = 0; lane < 4; lane++) {
        const v128_t low = wasm_v128_load(weights + 8 * lane);
        const v128_t high = wasm_v128_load(weights + 8 * lane + 4);
        for (int pixel = 0; pixel < TILE; pixel++) {
          const v128_t value = wasm_v128_load32_splat((const float *)pixels[pixel] + lane);
          sums[pixel][0] = multiply_add(value, low, sums[pixel][0]);
          sums[pixel][1] = multiply_add(value, high, sums[pixel][1]);
        }
      }
      for (int pixel = 0; pixel < TILE; pixel++) pixels[pixel] += 16;
      weights += 32;
    } while (left -= 4);
    input += row_bytes;
  } while (--rows);
  for (int pixel = 0; pixel < TILE; pixel++) {
    result[pixel][0] = sums[pixel][0];
    result[pixel][1] = sums[pixel][1];
  }
}

/* Convolve `rows` rows of `width` pixels: windows of `window` rows, each a run of `run` floats, a
 * multiple of 4, that begins at `input` for the first pixel. The output has `blocks` blocks of 8
 * channels a pixel, to which `residual`, laid as the output, is added unless it is 0; then what is
 * below `least` becomes that. */
EXPORT(convolve)
void convolve(const byte *input, int input_row, int input_pixel, int window, int run,
              const float *weights, const float *bias, int blocks, byte *output, int output_row,
              int output_pixel, const byte *residual, float least, int width, int rows) {
  for (int band = 0; band < rows; band += BAND) {
    const int end = band + BAND < rows ? band + BAND : rows;
    for (int block = 0; block < blocks; block++) {
      for (int y = band; y < end; y++) {
        for (int x = 0; x < width; x += TILE) {
          v128_t sums[TILE][2];
          accumulate(input + y * input_row + x * input_pixel, input_row, input_pixel, window, run,
                     weights + 8 * block * window * run, bias + 8 * block, sums);
          int place = y * output_row + x * output_pixel + 32 * block;
#pragma nounroll
          for (int pixel = 0; pixel < TILE && x + pixel < width; pixel++, place += output_pixel) {
#pragma nounroll
            for (int half = 0; half < 2; half++) {
              v128_t value = sums[pixel][half];
              if (residual)
                value = wasm_f32x4_add(value, wasm_v128_load(residual + place + 16 * half));
              wasm_v128_store(output + place + 16 * half,
                              wasm_f32x4_pmax(wasm_f32x4_splat(least), value));
            }
          }
        }
      }
    }
  }
}

/* `count` pixels of 4 channels to bytes: of each channel 255 times its value from 0 to 1, cut. */
EXPORT(quantise)
void quantise(const float *from, byte *to, int count) {
#pragma nounroll
  for (; count > 0; count--, from += 4, to += 4) {
    v128_t value = wasm_f32x4_pmin(wasm_f32x4_const_splat(1), wasm_v128_load(from));
    value = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_mul(value, wasm_f32x4_const_splat(255)));
    value = wasm_i16x8_narrow_i32x4(value, value);
    wasm_v128_store32_lane(to, wasm_u8x16_narrow_i16x8(value, value), 0);
  }
}

/* Copy `count` floats, a multiple of 4; negative ones become 0. */
EXPORT(rectify)
void rectify(const float *from, float *to, int count) {
#pragma nounroll
  for (int at = 0; at < count; at += 4)
    wasm_v128_store(to + at, wasm_f32x4_pmax(wasm_f32x4_const_splat(0), wasm_v128_load(from + at)));
}

/* Whether any two of `count` floats, a multiple of 4, differ by at least `least`. */
EXPORT(differ)
int differ(const float *one, const float *other, int count, float least) {
#pragma nounroll
  for (int at = 0; at < count; at += 4) {
    const v128_t difference = wasm_f32x4_sub(wasm_v128_load(one + at), wasm_v128_load(other + at));
    if (wasm_v128_any_true(wasm_f32x4_ge(wasm_f32x4_abs(difference), wasm_f32x4_splat(least))))
      return 1;
  }
  return 0;
}
