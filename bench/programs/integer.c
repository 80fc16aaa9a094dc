/*
 * Integer work in registers and a small table: data-dependent branches (Collatz), multiply-rotate-xor (a hash), compare and
 * exchange (sorting), shifts and table look-ups (CRC-32). Prints a checksum.
 */
#define ROUNDS 1200
#include "freestanding.h"

static uint32_t crc_table[256];
static uint32_t values[2048];

static void make_crc_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		crc_table[i] = crc;
	}
}

static uint64_t collatz(uint64_t seed)
{
	uint64_t steps = 0;

	for (uint64_t n = seed; n < seed + 4000; n++)
		for (uint64_t x = n; x != 1; steps++)
			x = x & 1 ? 3 * x + 1 : x >> 1;
	return steps;
}

static uint64_t hash(uint64_t seed)
{
	uint64_t h = seed;

	for (int i = 0; i < 150000; i++) {
		h ^= h >> 33;
		h *= 0xff51afd7ed558ccdu;
		h = h << 27 | h >> 37;
		h += (uint64_t)i;
	}
	return h;
}

static uint32_t sort(uint64_t seed)
{
	const int n = sizeof values / sizeof values[0];

	for (int i = 0; i < n; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		values[i] = (uint32_t)(seed >> 32);
	}
	for (int gap = n / 2; gap > 0; gap /= 2)
		for (int i = gap; i < n; i++) {
			uint32_t value = values[i];
			int j = i;

			for (; j >= gap && values[j - gap] > value; j -= gap)
				values[j] = values[j - gap];
			values[j] = value;
		}
	return values[n / 2];
}

static uint32_t crc(void)
{
	const uint8_t *bytes = (const uint8_t *)values;
	uint32_t crc = ~0u;

	for (int pass = 0; pass < 40; pass++)
		for (unsigned i = 0; i < sizeof values; i++)
			crc = crc_table[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
	return ~crc;
}

static int run(unsigned long rounds)
{
	uint64_t sum = 0;

	make_crc_table();
	for (unsigned long round = 1; round <= rounds; round++) {
		sum += collatz(round * 1000);
		sum ^= hash(round + sum);
		sum += sort(round);
		sum ^= sort(sum);
		sum ^= crc();
	}
	print_unsigned("integer ", sum);
	return 0;
}
