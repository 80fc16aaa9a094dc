/*
 * Floating-point work: scalar doubles (the planets' orbits: multiply, add, divide, square root; the Mandelbrot set: multiply,
 * compare), packed doubles and floats of SSE2. Prints the bits of the results.
 */
#define ROUNDS 220
#include "freestanding.h"
#include <emmintrin.h>

struct body {
	double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[5];
static double rows[2][512] __attribute__((aligned(16)));
static float samples[2][1024] __attribute__((aligned(16)));

static double square_root(double x)
{
	__m128d v = _mm_set_sd(x);

	return _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
}

static void place_bodies(void)
{
	for (int i = 0; i < 5; i++)
		bodies[i] = (struct body){ 1.7 * i, 0.3 * i * i, 0.1 * i, 0.02 * i, 0.5 - 0.1 * i, 0.01 * i, i ? 1e-3 / i : 39.4 };
}

static void move_bodies(int steps)
{
	const double dt = 0.001;

	while (steps--) {
		for (int i = 0; i < 5; i++)
			for (int j = i + 1; j < 5; j++) {
				struct body *a = &bodies[i], *b = &bodies[j];
				const double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
				const double square = dx * dx + dy * dy + dz * dz + 0.01;
				const double pull = dt / (square * square_root(square));

				a->vx -= dx * b->mass * pull, a->vy -= dy * b->mass * pull, a->vz -= dz * b->mass * pull;
				b->vx += dx * a->mass * pull, b->vy += dy * a->mass * pull, b->vz += dz * a->mass * pull;
			}
		for (int i = 0; i < 5; i++) {
			struct body *a = &bodies[i];

			a->x += dt * a->vx, a->y += dt * a->vy, a->z += dt * a->vz;
		}
	}
}

static uint64_t mandelbrot(int size)
{
	uint64_t inside = 0;

	for (int py = 0; py < size; py++)
		for (int px = 0; px < size; px++) {
			const double cx = 3.0 * px / size - 2.0, cy = 2.0 * py / size - 1.0;
			double x = 0, y = 0;
			int n = 0;

			for (; n < 50 && x * x + y * y <= 4.0; n++) {
				const double next = x * x - y * y + cx;

				y = 2 * x * y + cy;
				x = next;
			}
			inside += n == 50;
		}
	return inside;
}

/* y = a x + y on pairs of doubles, then their sum. */
static double packed_doubles(int passes)
{
	__m128d sum = _mm_setzero_pd();
	const __m128d a = _mm_set1_pd(0.999);

	for (int i = 0; i < 512; i++)
		rows[0][i] = 1.0 / (i + 1), rows[1][i] = i;
	while (passes--)
		for (int i = 0; i < 512; i += 2) {
			const __m128d y = _mm_add_pd(_mm_mul_pd(a, _mm_load_pd(&rows[1][i])), _mm_load_pd(&rows[0][i]));

			_mm_store_pd(&rows[1][i], y);
			sum = _mm_add_pd(sum, y);
		}
	return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

/* A recursive filter on quadruples of floats. */
static float packed_floats(int passes)
{
	__m128 sum = _mm_setzero_ps();
	const __m128 a = _mm_set1_ps(0.75f), b = _mm_set1_ps(0.25f);

	for (int i = 0; i < 1024; i++)
		samples[0][i] = (float)(i % 37), samples[1][i] = 0;
	while (passes--)
		for (int i = 0; i < 1024; i += 4) {
			const __m128 old = _mm_load_ps(&samples[1][i]);
			const __m128 new = _mm_add_ps(_mm_mul_ps(a, old), _mm_mul_ps(b, _mm_load_ps(&samples[0][i])));

			_mm_store_ps(&samples[1][i], new);
			sum = _mm_add_ps(sum, _mm_sub_ps(new, old));
		}
	return _mm_cvtss_f32(sum);
}

static uint64_t bits_of(double value)
{
	union {
		double value;
		uint64_t bits;
	} u = { value };

	return u.bits;
}

static int run(unsigned long rounds)
{
	uint64_t sum = 0;

	place_bodies();
	for (unsigned long round = 0; round < rounds; round++) {
		move_bodies(4000);
		sum += bits_of(bodies[1].x) ^ bits_of(bodies[4].vy);
		sum += mandelbrot(64);
		sum ^= bits_of(packed_doubles(200));
		sum += bits_of(packed_floats(200));
	}
	print_unsigned("float ", sum);
	return 0;
}
