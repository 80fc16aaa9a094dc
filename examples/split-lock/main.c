/*
 * A guest that takes split locks, and loads misaligned words, in rings 0 and 3, with and without alignment check, and prints what
 * came of each. Where the host offers detection to guests (MSR_IA32_CORE_CAPS[5]) it does so with its own off and on.
 *
 *     worldswitch run examples/split-lock/split-lock.elf --boot split_lock_detect=warn
 *     worldswitch run examples/split-lock/split-lock.elf --kernel proposal:sld-virt-v8
 *
 * A host in fatal mode kills the guest at the first split lock. Words choose rows, so that each can be seen by itself:
 *
 *     worldswitch run examples/split-lock/split-lock.elf ring3 check xchg --boot split_lock_detect=fatal
 *
 * Words: own-off own-on, ring0 ring3, nocheck check, lock xchg load. A column of which no word is given is shown whole.
 */
#include "ports.h"
#include "rings.h"

/* Longer than any access takes that nobody holds up, shorter than a host's penalty of 10 ms. */
#define LATE 1000000

extern volatile uint32_t victim;
extern char access_lock[], access_xchg[], access_load[];

static const struct access {
	const char *name;
	const char *code;
	uint32_t result; /* the word in memory afterwards, if it was 1 before */
} accesses[] = {
	{ "lock", access_lock, 2 },
	{ "xchg", access_xchg, 7 },
	{ "load", access_load, 1 },
};

static const char *words;

static int is_given(const char *word)
{
	for (const char *at = words; at && *at;) {
		const char *w = word;

		while (*w && *at == *w)
			at++, w++;
		if (!*w && (!*at || *at == ' '))
			return 1;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return 0;
}

/* Whether rows with `word` are wanted: it is given, or none of the words of its column is. */
static int is_wanted(const char *word, const char *const column[])
{
	int any = 0;

	for (int i = 0; column[i]; i++)
		any |= is_given(column[i]);
	return !any || is_given(word);
}

static void print_column(const char *text, int width)
{
	print(text);
	for (; *text; text++)
		width--;
	while (width-- > 0)
		print(" ");
}

/* A host that held us up has turned detection off for a moment: as long again, and it is on. */
static void let_pass(uint64_t ticks)
{
	const uint64_t until = rdtsc() + ticks;

	while (rdtsc() < until)
		for (volatile int i = 0; i < 1000; i++)
			;
}

static void try_row(const struct access *access, int ring, int check)
{
	set_cr0_am(check);
	victim = 1;
	const uint64_t began = rdtsc();
	const unsigned vector = try_access(access->code, ring, check);
	const uint64_t took = rdtsc() - began;

	set_cr0_am(0);
	if (vector == VECTOR_AC)
		print(victim == 1 ? "#AC\n" : "#AC, and memory is changed\n");
	else if (victim != access->result)
		print("runs, and memory is wrong\n");
	else
		print(took > LATE ? "runs late\n" : "runs\n");
	if (took > LATE)
		let_pass(took);
}

static void try_all(const char *own)
{
	static const char *const ring_words[] = { "ring0", "ring3", 0 };
	static const char *const check_words[] = { "nocheck", "check", 0 };
	static const char *const access_words[] = { "lock", "xchg", "load", 0 };

	for (int ring = 0; ring < 2; ring++)
		for (int check = 0; check < 2; check++)
			for (unsigned i = 0; i < sizeof accesses / sizeof *accesses; i++) {
				const struct access *access = &accesses[i];

				if (!is_wanted(ring_words[ring], ring_words) || !is_wanted(check_words[check], check_words) ||
				    !is_wanted(access->name, access_words))
					continue;
				print_column(own, 15);
				print_column(ring ? "3" : "0", 6);
				print_column(check ? "on" : "off", 17);
				print_column(access->name, 8);
				try_row(access, ring ? 3 : 0, check);
			}
}

int main(const char *given)
{
	static const char *const own_words[] = { "own-off", "own-on", 0 };

	words = given;
	install_rings();
	print("own detection  ring  alignment check  access  outcome\n");
	if (!has_core_capabilities() || !(rdmsr(MSR_IA32_CORE_CAPS) & CORE_CAPS_SPLIT_LOCK_DETECT)) {
		try_all("none");
		return 0;
	}
	for (int on = 0; on < 2; on++) {
		if (!is_wanted(own_words[on], own_words))
			continue;
		wrmsr(MSR_TEST_CTRL, on ? TEST_CTRL_SPLIT_LOCK_DETECT : 0);
		try_all(on ? "on" : "off");
	}
	return 0;
}
