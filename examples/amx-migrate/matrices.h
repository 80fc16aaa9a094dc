/* The matrices: M x K times K x N, once of int8 with int32 sums, once of bf16 with float sums. */
#ifndef MATRICES_H
#define MATRICES_H

#include <stdint.h>

#define M 64
#define N 64
#define K_INT8 256
#define K_BF16 128

/* A tile holds 16 rows of 64 bytes: 16 x 64 int8, 16 x 32 bf16, 16 x 16 sums. */
#define TILE_ROWS 16
#define TILE_BYTES 64
#define K_STEPS (K_INT8 / 64)
_Static_assert(K_BF16 / 32 == K_STEPS, "both products take the same number of steps along K");

typedef uint16_t bf16;

extern int8_t a_int8[M][K_INT8], b_int8[K_INT8][N];
extern bf16 a_bf16[M][K_BF16], b_bf16[K_BF16][N];

/*
 * The second factors as the dot-product instructions want them: the 4 (or 2) elements that one sum takes from column n lie side
 * by side. packed[k / 4][n][k % 4] is b[k][n].
 */
extern int8_t b_int8_packed[K_INT8 / 4][N][4];
extern bf16 b_bf16_packed[K_BF16 / 2][N][2];

/* Products: by tiles, and by one multiplication and one addition at a time. */
extern int32_t c_int8[M][N];
extern float c_bf16[M][N];

void fill_matrices(void);
void pack_matrices(void);

/* How many of the M * N elements equal the scalar result, bit for bit. */
unsigned equal_int8(void);
unsigned equal_bf16(void);

/* Multiplies with AMX; calls half_way() once, in the middle, while all eight tiles hold data that is still needed. */
void multiply_with_tiles(void (*half_way)(void));

#endif
