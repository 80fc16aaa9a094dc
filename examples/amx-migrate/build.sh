#!/bin/sh
# Builds amx-migrate.elf with gcc and binutils >= 2.35 (the assembler has to know AMX).
set -eu
cd "$(dirname "$0")"
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -ffreestanding -fno-tree-vectorize -fno-tree-loop-distribute-patterns \
  -fno-pic -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -mno-red-zone -mno-mmx \
  -nostdlib -static -no-pie -Wl,-Ttext-segment=0x100000 -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--build-id=none -s \
  start.S main.c matrices.c multiply.c -o amx-migrate.elf
