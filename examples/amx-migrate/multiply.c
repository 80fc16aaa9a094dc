/*
 * Both products at once, two 16 x 16 blocks of each at a time, so that all eight tiles are in use:
 *
 *   tmm0 tmm1   int32 sums of blocks (i, j) and (i, j + 1)
 *   tmm2 tmm3   float sums of the same blocks
 *   tmm4 tmm5   int8 factors: rows of A, columns of B
 *   tmm6 tmm7   bf16 factors: rows of A, columns of B
 */
#include "matrices.h"
#include "tiles.h"

static const struct tile_config all_tiles_full = {
	.palette = 1,
	.bytes_per_row = { 64, 64, 64, 64, 64, 64, 64, 64 },
	.rows = { 16, 16, 16, 16, 16, 16, 16, 16 },
};

/* One step along K for the blocks whose first row is i and first column is j: 64 int8 or 32 bf16 of each row. */
static void multiply_step(int i, int j, int step)
{
	tile_load(4, &a_int8[i][step * 64], sizeof a_int8[0]);
	tile_load(6, &a_bf16[i][step * 32], sizeof a_bf16[0]);
	tile_load(5, b_int8_packed[step * 16][j], sizeof b_int8_packed[0]);
	tile_load(7, b_bf16_packed[step * 16][j], sizeof b_bf16_packed[0]);
	tile_dpbssd(0, 4, 5);
	tile_dpbf16ps(2, 6, 7);
	tile_load(5, b_int8_packed[step * 16][j + TILE_ROWS], sizeof b_int8_packed[0]);
	tile_load(7, b_bf16_packed[step * 16][j + TILE_ROWS], sizeof b_bf16_packed[0]);
}

/* The second half of a step: its factors are already in tiles. */
static void finish_step(void)
{
	tile_dpbssd(1, 4, 5);
	tile_dpbf16ps(3, 6, 7);
}

void multiply_with_tiles(void (*half_way)(void))
{
	tile_load_config(&all_tiles_full);
	for (int i = 0; i < M; i += TILE_ROWS)
		for (int j = 0; j < N; j += 2 * TILE_ROWS) {
			tile_zero(0);
			tile_zero(1);
			tile_zero(2);
			tile_zero(3);
			for (int step = 0; step < K_STEPS; step++) {
				multiply_step(i, j, step);
				/* Sums half made in tmm0-tmm3, factors not yet used in tmm4-tmm7. */
				if (i == M / 2 && j == 0 && step == K_STEPS / 2)
					half_way();
				finish_step();
			}
			tile_store(0, &c_int8[i][j], sizeof c_int8[0]);
			tile_store(1, &c_int8[i][j + TILE_ROWS], sizeof c_int8[0]);
			tile_store(2, &c_bf16[i][j], sizeof c_bf16[0]);
			tile_store(3, &c_bf16[i][j + TILE_ROWS], sizeof c_bf16[0]);
		}
	tile_release();
}
