import { KVM_IOCTL } from '../../src/kvm/abi/ioctl-numbers.ts'
import type { Random } from './random.ts'
import type { CpuidStep, Descriptor, Fill, Msr, Pointer, Step, Xcr, XsaveStep } from './steps.ts'

/** Random calls: mostly about extended state, near the line between what is taken and what is refused. */
export function randomStep(random: Random): Step {
  const kind = random.below(100)
  if (kind < 30) return setXsave(random)
  if (kind < 45) return setXcrs(random)
  if (kind < 60) return setCpuid2(random)
  if (kind < 75) return setMsrs(random)
  if (kind < 97) return raw(random)
  if (kind < 99) return prctl(random)
  return { call: 'run' }
}

const bit = (nr: number): bigint => 1n << BigInt(nr)
const ALL = (1n << 64n) - 1n
/** Masks of components that mean something somewhere, and single wrong bits. */
const MASKS: readonly bigint[] = [0n, 1n, 2n, 3n, 4n, 7n, 0xe7n, 0x1fn, 0x207n, 0x2e7n, 0x2ffn, 0x202e7n, 0x602e7n, 0x602ffn, ALL]

function mask(random: Random): bigint {
  const kind = random.below(10)
  if (kind < 6) return random.of(MASKS)
  if (kind < 9) return random.of(MASKS) ^ bit(random.below(20))
  return random.u64()
}

function pointer(random: Random, size: number): Pointer {
  const kind = random.below(100)
  if (kind < 94) return 'memory'
  return kind < 96 ? 'nowhere' : { readable: random.below(size + 64) }
}

const MXCSRS = [0x1f80, 0x1fa0, 0xffff, 0x10000, 0xffffffff, 0]
const littleEndian = (value: number): number[] => [value, value >>> 8, value >>> 16, value >>> 24].map((byte) => byte & 0xff)

function setXsave(random: Random): XsaveStep {
  const patches: { at: number; bytes: number[] }[] = []
  if (random.chance(15)) patches.push({ at: 520 + random.below(56), bytes: [random.below(4)] })
  if (random.chance(30)) patches.push({ at: 24, bytes: littleEndian(random.of(MXCSRS)) })
  for (let i = random.below(4); i > 0; i--) patches.push({ at: random.below(464), bytes: [random.below(256)] })
  for (let i = random.below(4); i > 0; i--) patches.push({ at: 576 + random.below(10432), bytes: [random.below(256)] })
  // Over the legacy region; MXCSR is as random as the rest then.
  if (random.chance(5)) patches.push({ at: random.below(32), bytes: Array.from({ length: 32 }, () => random.below(256)) })
  const kind = random.below(10)
  return {
    call: 'KVM_SET_XSAVE',
    base: kind < 6 ? 'got' : kind < 9 ? 'zero' : random.u32(),
    bv: random.chance(80) ? mask(random) : null,
    patches,
    at: pointer(random, 12000),
  }
}

function setXcrs(random: Random): Step {
  const xcrs: Xcr[] = Array.from({ length: 1 + random.below(3) }, () => ({
    xcr: random.chance(80) ? 0 : random.below(4),
    value: mask(random),
  }))
  const count = random.chance(90) ? xcrs.length : random.of([0, 15, 16, 17, 0x80000000, 0xffffffff])
  return { call: 'KVM_SET_XCRS', count, flags: random.chance(95) ? 0 : random.u32(), xcrs, at: pointer(random, 0x188) }
}

const ADDRESS_SIZES = [0x302e, 0x392e, 0x3034, 0x2828, 0, 0xff00, 0x3000]

function setCpuid2(random: Random): CpuidStep {
  const noise = Array.from(
    { length: random.chance(20) ? 1 + random.below(8) : 0 },
    () => [random.below(60), random.below(4), random.u32()] as const,
  )
  return {
    call: 'KVM_SET_CPUID2',
    xcr0: random.chance(5) ? null : mask(random),
    count: random.chance(90) ? null : random.of([0, 1, 2, 255, 256, 257, 4096, 0x7fffffff, 0xffffffff]),
    addressSizes: random.chance(70) ? null : random.of(ADDRESS_SIZES),
    noise,
    at: pointer(random, 2048),
  }
}

const XSTATE_MSRS = [0x1c4, 0x1c5, 0xda0]
const OTHER_MSRS = [0x10, 0x3a, 0x48, 0x8b, 0x10a, 0x174, 0x1a0, 0x277, 0x6a0, 0x6e0, 0x800, 0xc0000080, 0xc0000102, 0xc0000103]
const VALUES: readonly bigint[] = [0n, 0n, 0n, bit(18), bit(18), bit(17), bit(17) | bit(18), 0x800n, 0x1800n, 1n, bit(63), ALL]

function setMsrs(random: Random): Step {
  const others = random.chance(15)
  const msrs: Msr[] = Array.from({ length: 1 + random.below(5) }, () => ({
    index: others && random.chance(60) ? (random.chance(80) ? random.of(OTHER_MSRS) : random.u32()) : random.of(XSTATE_MSRS),
    value: random.chance(90) ? random.of(VALUES) : random.u64(),
  }))
  const count = random.chance(95) ? msrs.length : random.of([0, 255, 256, 257, 0x7fffffff, 0xffffffff])
  return { call: 'KVM_SET_MSRS', msrs, count, at: pointer(random, 88) }
}

/** Never made at random: KVM_RUN has a step of its own. */
const NAMES = Object.keys(KVM_IOCTL).filter((name) => name !== 'KVM_RUN') as (keyof typeof KVM_IOCTL)[]
const DESCRIPTORS: readonly Descriptor[] = ['vcpu', 'vcpu', 'vcpu', 'vcpu', 'vm', 'vm', 'kvm']
const ARGUMENTS = [0, 1, 2, 15, 255, 4096, 0x7fffffff, 0xffffffff, -1, 2 ** 40]

function raw(random: Random): Step {
  const name = random.of(NAMES)
  let request: number = KVM_IOCTL[name]
  const kind = random.below(100)
  // Another size of the argument, another direction, any number of KVM's, any number at all.
  if (kind < 10) request = ((request & ~(0x3fff << 16)) | (random.below(0x4000) << 16)) >>> 0
  else if (kind < 15) request = (request ^ (1 << (30 + random.below(2)))) >>> 0
  else if (kind < 20) request = ((request & ~0xff) | random.below(256)) >>> 0
  else if (kind < 22) request = random.u32()
  return { call: 'raw', on: random.of(DESCRIPTORS), name, request, fill: fill(random) }
}

function fill(random: Random): Fill {
  if (random.chance(25)) return { value: random.chance(80) ? random.of(ARGUMENTS) : random.u32() }
  return { seed: random.u32(), at: pointer(random, 512) }
}

const OPTIONS = [0x1021, 0x1022, 0x1023, 0x1024, 0x1025, 0x1026]

function prctl(random: Random): Step {
  return {
    call: 'prctl',
    option: random.of(OPTIONS),
    argument: random.chance(70) ? 18 : random.of([0, 9, 17, 19, 64, -1, 2 ** 33]),
  }
}
