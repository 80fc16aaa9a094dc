/*
 * Runs test cases on the processor of this machine and prints the state each leaves.
 *
 *   gcc -O1 -fno-stack-protector -o recorder recorder.c && ./recorder < cases > results
 *
 * Nothing is executed here but the case's own code: the program is always inside a signal handler, which writes the case's
 * registers into the signal frame and returns; the code ends in a trap (the code page is filled with INT3) or a fault, and
 * the next frame holds what it left. 32-bit cases return to the compatibility-mode code segment.
 *
 * Layout of a case and of a result: see state.ts (struct record below). Addresses: see layout.ts.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define WINDOW 0x10000000ul
#define MEMORY_BYTES 12288
#define CODE 0x10010000ul
#define CODE_OFFSET 0x100
#define GS_BASE 0x10000080ul
#define CS_32 0x23
#define CS_64 0x33

struct record {
  uint32_t mode, code_bytes, vector, error;
  uint64_t fault_address, rip, rflags;
  uint32_t mxcsr, padding;
  uint64_t gpr[16];
  uint8_t code[64];
  uint64_t opmask[8];
  uint8_t x87[160];
  uint8_t zmm[32][64];
  uint8_t memory[MEMORY_BYTES];
};

static struct record current;
static uint8_t *memory, *code;
static uint32_t ymm_at, opmask_at, zmm_high_at, zmm16_at;
static int running;

/* Register numbers in encoding order -> signal frame. */
static const int slot[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static int read_all(void *to, size_t n) {
  size_t got = 0;
  while (got < n) {
    ssize_t r = read(0, (char *)to + got, n - got);
    if (r <= 0) return 0;
    got += r;
  }
  return 1;
}

static void write_all(const void *from, size_t n) {
  size_t done = 0;
  while (done < n) {
    ssize_t r = write(1, (const char *)from + done, n - done);
    if (r <= 0) _exit(3);
    done += r;
  }
}

static void load_vectors(uint8_t *x) {
  uint64_t present = 0xe7;
  memcpy(x, current.x87, 24);
  memcpy(x + 24, &current.mxcsr, 4);
  memcpy(x + 32, current.x87 + 32, 128);
  for (int i = 0; i < 32; i++) {
    if (i < 16) {
      memcpy(x + 160 + i * 16, current.zmm[i], 16);
      memcpy(x + ymm_at + i * 16, current.zmm[i] + 16, 16);
      memcpy(x + zmm_high_at + i * 32, current.zmm[i] + 32, 32);
    } else
      memcpy(x + zmm16_at + (i - 16) * 64, current.zmm[i], 64);
  }
  memcpy(x + opmask_at, current.opmask, 64);
  *(uint64_t *)(x + 512) |= present;
}

/* A component whose bit is clear is in its initial state, whatever the bytes say. */
static void store_vectors(const uint8_t *x) {
  uint64_t present = *(const uint64_t *)(x + 512);
  static const uint8_t zero[64];
  memset(current.x87, 0, 160);
  if (present & 1) {
    memcpy(current.x87, x, 24);
    memcpy(current.x87 + 32, x + 32, 128);
  } else
    current.x87[0] = 0x7f, current.x87[1] = 3;
  memcpy(&current.mxcsr, x + 24, 4);
  for (int i = 0; i < 32; i++) {
    if (i < 16) {
      memcpy(current.zmm[i], present & 2 ? x + 160 + i * 16 : zero, 16);
      memcpy(current.zmm[i] + 16, present & 4 ? x + ymm_at + i * 16 : zero, 16);
      memcpy(current.zmm[i] + 32, present & 0x40 ? x + zmm_high_at + i * 32 : zero, 32);
    } else
      memcpy(current.zmm[i], present & 0x80 ? x + zmm16_at + (i - 16) * 64 : zero, 64);
  }
  for (int k = 0; k < 8; k++) memcpy(&current.opmask[k], present & 0x20 ? x + opmask_at + k * 8 : zero, 8);
}

static void handler(int number, siginfo_t *info, void *context) {
  ucontext_t *u = context;
  greg_t *g = u->uc_mcontext.gregs;
  uint8_t *x = (uint8_t *)u->uc_mcontext.fpregs;
  (void)number;
  (void)info;
  if (running) {
    current.vector = g[REG_TRAPNO];
    current.error = g[REG_ERR];
    current.fault_address = g[REG_TRAPNO] == 14 ? g[REG_CR2] : 0;
    current.rip = g[REG_RIP];
    current.rflags = g[REG_EFL];
    for (int r = 0; r < 16; r++) current.gpr[r] = g[slot[r]];
    store_vectors(x);
    memcpy(current.memory, memory, MEMORY_BYTES);
    write_all(&current, sizeof current);
  }
  running = 1;
  if (!read_all(&current, sizeof current)) _exit(0);
  memset(code, 0xcc, 4096);
  memcpy(code + CODE_OFFSET, current.code, current.code_bytes);
  memcpy(memory, current.memory, MEMORY_BYTES);
  for (int r = 0; r < 16; r++) g[slot[r]] = current.gpr[r];
  g[REG_RIP] = CODE + CODE_OFFSET;
  g[REG_EFL] = current.rflags;
  /* cs, gs, fs, ss in 16 bits each */
  g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xfffful) | (current.mode == 32 ? CS_32 : CS_64);
  load_vectors(x);
}

static uint32_t component(int i) {
  uint32_t a, b, c, d;
  __cpuid_count(0xd, i, a, b, c, d);
  return b;
}

static uint8_t *map_fixed(uint64_t at, size_t n, int protection, int fd, off_t offset) {
  void *p = mmap((void *)at, n, protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, offset);
  if (p != (void *)at) {
    perror("mmap");
    exit(2);
  }
  return p;
}

int main(void) {
  static uint8_t stack[1 << 18];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  int fd = memfd_create("case", 0);
  if (fd < 0 || ftruncate(fd, MEMORY_BYTES + 4096)) return 2;
  ymm_at = component(2), opmask_at = component(5), zmm_high_at = component(6), zmm16_at = component(7);
  /* pages 0 and 1 read-write, page 2 read-only; all and the code page also at an address of our own */
  map_fixed(WINDOW, 8192, PROT_READ | PROT_WRITE, fd, 0);
  map_fixed(WINDOW + 8192, 4096, PROT_READ, fd, 8192);
  map_fixed(CODE, 4096, PROT_READ | PROT_EXEC, fd, MEMORY_BYTES);
  memory = mmap(0, MEMORY_BYTES + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  code = memory + MEMORY_BYTES;
  sigaltstack(&alternate, 0);
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &act, 0);
  syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE);
  __asm__ volatile("movl $0x2b, %%eax; movl %%eax, %%ds; movl %%eax, %%es; int3" ::: "eax", "memory");
  return 1;
}
