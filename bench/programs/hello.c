/* Start-up and nothing else. */
#define ROUNDS 1
#include "freestanding.h"

static int run(unsigned long rounds)
{
	while (rounds--)
		print("hello, world\n");
	return 0;
}
