#include "matrices.h"

int8_t a_int8[M][K_INT8], b_int8[K_INT8][N];
bf16 a_bf16[M][K_BF16], b_bf16[K_BF16][N];
__attribute__((aligned(64))) int8_t b_int8_packed[K_INT8 / 4][N][4];
__attribute__((aligned(64))) bf16 b_bf16_packed[K_BF16 / 2][N][2];
int32_t c_int8[M][N];
float c_bf16[M][N];

/* A fixed sequence (Knuth's MMIX constants): the same matrices on every machine. */
static uint32_t next_random(void)
{
	static uint64_t state = 20220614;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 32);
}

/* A bf16 is the upper half of the float of the same value. */
static bf16 bf16_of(float value)
{
	union {
		float f;
		uint32_t bits;
	} u = { value };

	return (bf16)(u.bits >> 16);
}

static float float_of(bf16 value)
{
	union {
		uint32_t bits;
		float f;
	} u = { (uint32_t)value << 16 };

	return u.f;
}

/* Quarters between -8 and 8: every product and every sum of 128 of them is exact in a float, so the order of additions does not matter. */
static bf16 next_quarter(void)
{
	return bf16_of((float)((int)(next_random() % 65) - 32) / 4);
}

void fill_matrices(void)
{
	for (int i = 0; i < M; i++)
		for (int k = 0; k < K_INT8; k++)
			a_int8[i][k] = (int8_t)next_random();
	for (int k = 0; k < K_INT8; k++)
		for (int j = 0; j < N; j++)
			b_int8[k][j] = (int8_t)next_random();
	for (int i = 0; i < M; i++)
		for (int k = 0; k < K_BF16; k++)
			a_bf16[i][k] = next_quarter();
	for (int k = 0; k < K_BF16; k++)
		for (int j = 0; j < N; j++)
			b_bf16[k][j] = next_quarter();
}

void pack_matrices(void)
{
	for (int k = 0; k < K_INT8; k++)
		for (int j = 0; j < N; j++)
			b_int8_packed[k / 4][j][k % 4] = b_int8[k][j];
	for (int k = 0; k < K_BF16; k++)
		for (int j = 0; j < N; j++)
			b_bf16_packed[k / 2][j][k % 2] = b_bf16[k][j];
}

unsigned equal_int8(void)
{
	unsigned equal = 0;

	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++) {
			int32_t sum = 0;

			for (int k = 0; k < K_INT8; k++)
				sum += a_int8[i][k] * b_int8[k][j];
			equal += sum == c_int8[i][j];
		}
	return equal;
}

unsigned equal_bf16(void)
{
	unsigned equal = 0;

	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++) {
			union {
				float f;
				uint32_t bits;
			} sum = { 0 }, tile = { c_bf16[i][j] };

			for (int k = 0; k < K_BF16; k++)
				sum.f += float_of(a_bf16[i][k]) * float_of(b_bf16[k][j]);
			equal += sum.bits == tile.bits;
		}
	return equal;
}
