import type { Host, HostOptions } from '../../../src/vmm/modelled/host.ts'
import type { ProcessMemory } from '../../../src/vmm/process-memory.ts'
import type { VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import { testHost } from '../../vmm/hosts.ts'

/** A 64-bit guest with user-accessible pages, a #AC handler and a #DB handler, in ring 0 or 3. Ports tell what happened. */
export const PORT_DONE = 0x80
export const PORT_AC = 0x17
export const PORT_DB = 0x01

const [PML4, PDPT, PD, GDT, IDT, TSS, STACK0, STACK3] = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7800, 0x7f00]
export const CODE = 0x8000
const HANDLER_AC = 0x8800
const HANDLER_DB = 0x8840
/** Two bytes before the end of a cache line. */
export const SPLIT = 0x903e

export const OUT_DONE = [0xe6, PORT_DONE]
const absolute = (address: number): number[] => [0x04, 0x25, address & 0xff, address >> 8, 0, 0]
/** lock incl SPLIT */
export const LOCK_INC = [0xf0, 0xff, ...absolute(SPLIT)]
/** mov $7, %eax; xchg %eax, SPLIT: locked without a prefix. */
export const XCHG = [0xb8, 7, 0, 0, 0, 0x87, ...absolute(SPLIT)]
/** mov SPLIT, %eax: no lock. */
export const LOAD = [0x8b, ...absolute(SPLIT)]

export interface Ring {
  readonly cpl: 0 | 3
  /** CR0.AM and RFLAGS.AC. */
  readonly alignmentCheck: boolean
}

const quadwords = (values: readonly bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer)
const gate = (handler: number): bigint[] => [
  BigInt(handler & 0xffff) | (0x08n << 16n) | (0xeen << 40n) | (BigInt(handler >>> 16) << 48n),
  0n,
]

export interface SplitLockGuest {
  readonly host: Host
  readonly vcpu: VcpuFd
  readonly memory: ProcessMemory
  /** The word that LOCK_INC increments and XCHG replaces. */
  value(): number
}

/** A vCPU about to run `code` in that ring, on a host of its own. CPUID is the supported one. */
export function splitLockGuest(code: readonly number[], ring: Ring, options: Partial<HostOptions> = {}): SplitLockGuest {
  return guestOn(testHost(options), code, ring)
}

/** The same in a new process of `host`. */
export function guestOn(host: Host, code: readonly number[], ring: Ring): SplitLockGuest {
  const kvm = host.newProcess().openKvm()
  const vm = kvm.createVm()
  const memory = kvm.process.allocate(0x10000)
  memory.write(PML4, quadwords([BigInt(PDPT) | 7n]))
  memory.write(PDPT, quadwords([BigInt(PD) | 7n]))
  memory.write(PD, quadwords([0x87n]))
  memory.write(GDT, quadwords([0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00affb000000ffffn, 0x00cff3000000ffffn]))
  memory.write(IDT + 17 * 16, quadwords(gate(HANDLER_AC)))
  memory.write(IDT + 1 * 16, quadwords(gate(HANDLER_DB)))
  memory.write(TSS + 4, quadwords([BigInt(STACK0)]))
  memory.write(CODE, Uint8Array.from(code))
  memory.write(HANDLER_AC, Uint8Array.of(0xe6, PORT_AC, 0xf4))
  memory.write(HANDLER_DB, Uint8Array.of(0xe6, PORT_DB, 0xf4))
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  enterRing(vcpu, ring)
  return { host, vcpu, memory, value: () => new DataView(Uint8Array.from(memory.bytes(SPLIT, 4)).buffer).getUint32(0, true) }
}

function enterRing(vcpu: VcpuFd, { cpl, alignmentCheck }: Ring): void {
  const sregs = vcpu.getSregs()
  const common = { base: 0n, limit: 0xffffffff, present: 1, dpl: cpl, s: 1, g: 1, avl: 0, unusable: 0 }
  const data = { ...common, selector: cpl === 3 ? 0x23 : 0x10, type: 3, db: 1, l: 0 }
  vcpu.setSregs({
    ...sregs,
    cs: { ...common, selector: cpl === 3 ? 0x1b : 0x08, type: 11, db: 0, l: 1 },
    ds: data,
    es: data,
    ss: data,
    tr: { ...common, base: BigInt(TSS), limit: 0x67, selector: 0x28, type: 11, s: 0, dpl: 0, g: 0, db: 0, l: 0 },
    gdt: { base: BigInt(GDT), limit: 5 * 8 - 1 },
    idt: { base: BigInt(IDT), limit: 0xfff },
    cr0: alignmentCheck ? 0x80050033n : 0x80010033n,
    cr3: BigInt(PML4),
    cr4: 0x620n,
    efer: 0xd01n,
  })
  // IOPL 3, so that ring 3 may use ports.
  const rflags = 0x3002n | (alignmentCheck ? 0x40000n : 0n)
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(CODE), rsp: BigInt(cpl === 3 ? STACK3 : STACK0), rflags })
}

export type Outcome = 'runs' | '#AC' | '#DB' | 'SIGBUS'

/** What came of the guest's first access. */
export function outcome({ vcpu }: SplitLockGuest): Outcome {
  const exit = vcpu.run()
  if (exit.reason === 'exception' && exit.exception === 17 && exit.errorCode === 0) return 'SIGBUS'
  if (exit.reason !== 'io') throw new Error(`exit ${exit.reason}`)
  const outcomes: Record<number, Outcome> = { [PORT_DONE]: 'runs', [PORT_AC]: '#AC', [PORT_DB]: '#DB' }
  return outcomes[exit.port]
}
