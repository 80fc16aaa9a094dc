/* The AMX instructions. Tile numbers are part of the encoding, so these are macros. */
#ifndef TILES_H
#define TILES_H

#include <stdint.h>

/* LDTILECFG's operand (SDM Vol. 2, "LDTILECFG", table of the memory layout). */
struct __attribute__((packed, aligned(64))) tile_config {
	uint8_t palette;
	uint8_t start_row;
	uint8_t reserved[14];
	uint16_t bytes_per_row[16];
	uint8_t rows[16];
};

#define tile_load_config(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)))
#define tile_release() __asm__ volatile("tilerelease" : :)
#define tile_zero(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define tile_load(t, base, stride) \
	__asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(base), "r"((intptr_t)(stride)) : "memory")
#define tile_store(t, base, stride) \
	__asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(base), "r"((intptr_t)(stride)) : "memory")
/* sum, a and b are tile numbers: sum += a * b */
#define tile_dpbssd(sum, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)
#define tile_dpbf16ps(sum, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)

#endif
