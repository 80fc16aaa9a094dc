/*
 * Memory work over 64 MiB: a chase through pointers in a random order, streams (copy and add, 8 and 16 bytes at a time, and
 * REP MOVSQ), and reads and writes at random places. Prints a checksum.
 */
#define ROUNDS 4
#include "freestanding.h"
#include <emmintrin.h>

#define WORDS (4u << 20) /* 32 MiB of 8 bytes each */

static uint64_t first[WORDS] __attribute__((aligned(4096)));
static uint64_t second[WORDS] __attribute__((aligned(4096)));

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* first[i] names the word that comes after word i in one cycle through all of them (Sattolo's shuffle). */
static void make_cycle(void)
{
	for (uint32_t i = 0; i < WORDS; i++)
		first[i] = i;
	for (uint32_t i = WORDS - 1; i > 0; i--) {
		const uint32_t j = (uint32_t)(next_random() % i);
		const uint64_t other = first[j];

		first[j] = first[i];
		first[i] = other;
	}
}

static uint64_t chase(uint32_t hops)
{
	uint64_t at = 0;

	while (hops--)
		at = first[at];
	return at;
}

static uint64_t stream(void)
{
	uint64_t sum = 0;
	const uint64_t *from = first;
	uint64_t *to = second;
	uint64_t count = WORDS;

	for (uint32_t i = 0; i < WORDS; i++) {
		second[i] = first[i] + i;
		__asm__ volatile("" : : : "memory");
	}
	for (uint32_t i = 0; i < WORDS; i += 2) {
		const __m128i pair = _mm_load_si128((const __m128i *)&second[i]);

		sum += (uint64_t)_mm_cvtsi128_si64(_mm_add_epi64(pair, _mm_unpackhi_epi64(pair, pair)));
	}
	__asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
	return sum;
}

static uint64_t scatter(uint32_t times)
{
	uint64_t sum = 0;

	while (times--) {
		const uint64_t random = next_random();
		uint64_t *word = &second[random % WORDS];

		sum += *word;
		*word = sum ^ random;
	}
	return sum;
}

static int run(unsigned long rounds)
{
	uint64_t sum = 0;

	make_cycle();
	while (rounds--) {
		sum += chase(WORDS);
		sum ^= stream();
		sum += scatter(WORDS);
	}
	print_unsigned("memory ", sum);
	return 0;
}
