#!/bin/sh
# Builds the probe of `worldswitch doctor` with gcc for any x86-64 processor. The result lies in the repository and in the package.
set -eu
cd "$(dirname "$0")"
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -march=x86-64 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-tree-vectorize -nostdlib -static -no-pie -s \
  -Wl,-z,noexecstack -Wl,--build-id=none probe.c -o probe.elf
