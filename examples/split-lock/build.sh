#!/bin/sh
# Builds split-lock.elf with gcc and binutils.
set -eu
cd "$(dirname "$0")"
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -ffreestanding -fno-tree-vectorize -fno-tree-loop-distribute-patterns \
  -fno-pic -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -mno-red-zone -mgeneral-regs-only \
  -nostdlib -static -no-pie -Wl,-Ttext-segment=0x100000 -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--build-id=none -s \
  start.S main.c rings.c -o split-lock.elf
