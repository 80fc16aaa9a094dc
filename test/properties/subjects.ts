import fc from 'fast-check'
import { isPredicted } from '../../scripts/fuzz/facts.ts'
import { judge } from '../../scripts/fuzz/judge.ts'
import type { CpuidStep, Step } from '../../scripts/fuzz/steps.ts'
import { Subject } from '../../scripts/fuzz/subject.ts'
import { cpuModelFacts } from '../../src/isa/cpu-models/index.ts'
import { kernelProfiles } from '../../src/profiles/index.ts'
import { Host } from '../../src/vmm/modelled/host.ts'
import { icedModule } from '../machine/bare-host.ts'

const hosts = new Map<string, Host>()

/** One host for each pair; what a test leaves on it are processes that have ended. */
export function hostOf(cpu: string, kernel: string): Host {
  const name = `${cpu} ${kernel}`
  const host = hosts.get(name) ?? new Host({ cpu, kernel, memory: 16 << 20, processors: 1, decoder: icedModule() })
  hosts.set(name, host)
  return host
}

/** Each kernel profile on two processor models, so that every model has several: a host takes longer to make than a case. */
const CPUS = cpuModelFacts.map(({ name }) => name)
export const PAIRS = kernelProfiles.filter(isPredicted).flatMap(({ name }, i) => [
  { kernel: name, cpu: CPUS[i % CPUS.length] },
  { kernel: name, cpu: i % 2 === 0 ? 'SapphireRapids' : CPUS[(i * 5 + 3) % CPUS.length] },
])

const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
/** Any set of components; those that exist somewhere more often. */
export const components = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 0x7ffff }).map((mask) => BigInt(mask) & 0x602ffn) },
  { weight: 1, arbitrary: u64 },
)

export interface Situation {
  readonly cpu: string
  readonly kernel: string
  readonly permission: boolean
  /** CPUID.(0DH,0).EDX:EAX; null = KVM_SET_CPUID2 was never called. */
  readonly xcr0: bigint | null
}
export const situations: fc.Arbitrary<Situation> = fc
  .tuple(fc.constantFrom(...PAIRS), fc.boolean(), fc.option(components, { freq: 8 }))
  .map(([pair, permission, xcr0]) => ({ ...pair, permission, xcr0 }))

/** Offset of the first byte that differs, -1 when none does. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length)
  return a.findIndex((byte, i) => byte !== b[i])
}

export const cpuidStep = (xcr0: bigint): CpuidStep => ({
  call: 'KVM_SET_CPUID2',
  xcr0,
  count: null,
  addressSizes: null,
  noise: [],
  at: 'memory',
})

/** A vCPU in this situation for as long as `use` takes. A CPUID that the rules refuse leaves it without one. */
export function withSubject(situation: Situation, use: (subject: Subject) => void): void {
  const subject = new Subject(hostOf(situation.cpu, situation.kernel), { permission: situation.permission, irqchip: false })
  try {
    if (situation.xcr0 !== null) make(subject, cpuidStep(situation.xcr0))
    use(subject)
  } finally {
    subject.end()
  }
}

/** Makes a call, which has to go as the rules say. */
export function make(subject: Subject, step: Step): void {
  const { complaint } = judge(subject, step, subject.state.digest())
  if (complaint !== null) throw new Error(complaint.what)
}
