import { loadGuestMemory, setEntryState } from '../../vmm/small-vmm/entry-state.ts'
import type { VcpuFd } from '../../vmm/vcpu-fd.ts'
import type { VmFd } from '../../vmm/vm-fd.ts'

/**
 * The guest of every run: 64-bit code in ring 0 that takes LOCKS split locks with a HLT after each, then LOCKS in a burst with a little
 * work after each, on a word of its own. #AC and #GP have handlers that say so and stop. Ports tell the VMM where it is.
 */
export const LOCKS = 100
export const PORT_APART_DONE = 0x80
export const PORT_DONE = 0x81
export const PORT_AC = 0x17
export const PORT_GP = 0x0d

const MEMORY = 2 << 20
const [ENTRY, HANDLERS, IDT, WORDS] = [0x100000, 0x100800, 0x101000, 0x110000]
/** Words of vCPUs lie this far apart, each two bytes before the end of a cache line. */
const STRIDE = 0x1000
const wordOf = (id: number): number => WORDS + id * STRIDE + 0x3e

/** MSR_TEST_CTRL[29] */
const DETECT = 1n << 29n

const le32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)
const CODE = [
  ...[0x85, 0xdb, 0x74, 11], //           test %ebx, %ebx; jz 1f
  ...[0xb9, 0x33, 0, 0, 0], //            mov $MSR_TEST_CTRL, %ecx
  ...[0x89, 0xd8, 0x31, 0xd2, 0x0f, 0x30], // mov %ebx, %eax; xor %edx, %edx; wrmsr
  ...[0xb9, ...le32(LOCKS)], //        1: mov $LOCKS, %ecx
  ...[0xf0, 0xff, 0x07, 0xf4], //      2: lock incl (%rdi); hlt
  ...[0xff, 0xc9, 0x75, 0xf8], //         dec %ecx; jnz 2b
  ...[0xe6, PORT_APART_DONE], //          out %al, $PORT_APART_DONE
  ...[0xb9, ...le32(LOCKS)], //           mov $LOCKS, %ecx
  ...[0xf0, 0xff, 0x07], //            3: lock incl (%rdi)
  ...[0xba, ...le32(1000)], //            mov $1000, %edx
  ...[0xff, 0xca, 0x75, 0xfc], //      4: dec %edx; jnz 4b
  ...[0xff, 0xc9, 0x75, 0xf0], //         dec %ecx; jnz 3b
  ...[0xe6, PORT_DONE, 0xf4], //          out %al, $PORT_DONE; hlt
]
const says = (port: number): number[] => [0xe6, port, 0xf4]
const HANDLER_BYTES = 16
const VECTORS = [
  { vector: 13, code: says(PORT_GP) },
  { vector: 17, code: says(PORT_AC) },
]

const quadwords = (values: readonly bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer)

function interruptTable(): Uint8Array {
  const gates = Array<bigint>(2 * 32).fill(0n)
  VECTORS.forEach(({ vector }, i) => {
    const handler = HANDLERS + i * HANDLER_BYTES
    gates[2 * vector] = BigInt(handler & 0xffff) | (0x08n << 16n) | (0x8en << 40n) | (BigInt(handler >>> 16) << 48n)
  })
  return quadwords(gates)
}

/** Guest memory with the program in it. */
export function loadGuest(vm: VmFd): GuestWords {
  const memory = vm.kvm.process.allocate(MEMORY)
  const segment = (address: number, bytes: Uint8Array) => ({ address, size: bytes.length, bytes })
  const handlers = VECTORS.map(({ code }, i) => segment(HANDLERS + i * HANDLER_BYTES, Uint8Array.from(code)))
  loadGuestMemory(memory, {
    entry: ENTRY,
    segments: [segment(ENTRY, Uint8Array.from(CODE)), ...handlers, segment(IDT, interruptTable())],
  })
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  return { completed: (id) => new DataView(memory.bytes(wordOf(id), 4).buffer).getUint32(0, true) }
}

export interface GuestWords {
  /** Split locks that vCPU `id` has completed. */
  readonly completed: (id: number) => number
}

/** A vCPU at the entry. @param detects the guest turns detection on for itself, with WRMSR */
export function enterGuest(vcpu: VcpuFd, detects: boolean): void {
  vcpu.setCpuid2(vcpu.vm.kvm.getSupportedCpuid())
  setEntryState(vcpu, ENTRY)
  vcpu.setSregs({ ...vcpu.getSregs(), idt: { base: BigInt(IDT), limit: 32 * 16 - 1 } })
  const regs = vcpu.getRegs()
  vcpu.setRegs({ ...regs, rdi: BigInt(wordOf(vcpu.id)), rbx: detects ? DETECT : 0n, rsp: regs.rsp - BigInt(vcpu.id * 0x400) })
}
