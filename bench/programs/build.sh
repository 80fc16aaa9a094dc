#!/bin/sh
# Builds the benchmark programs with gcc for any x86-64 processor. The results lie in the repository: `npm run bench` needs no compiler.
set -eu
cd "$(dirname "$0")"
for program in hello integer float memory syscall exits; do
  ${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -march=x86-64 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -nostdlib -static -no-pie -s \
    -Wl,-z,noexecstack -Wl,--build-id=none "$program.c" -o "$program"
done
