import type { CpuidEntry2 } from '../../vmm/cpuid-list.ts'
import { findCpuid } from '../../vmm/cpuid-list.ts'
import type { Host } from '../../vmm/modelled/host.ts'
import type { Process } from '../../vmm/process.ts'
import { loadGuestMemory, setEntryState } from '../../vmm/small-vmm/entry-state.ts'
import type { VcpuFd } from '../../vmm/vcpu-fd.ts'

/** Where the code of a scenario's guest lies. */
const ENTRY = 0x100000
const MEMORY = 2 << 20

const XTILE_DATA = 18

/** A VMM with one vCPU. */
export interface Vmm {
  readonly host: Host
  readonly process: Process
  readonly vcpu: VcpuFd
}

export interface VmmOptions {
  /** Asks for guest permission of tile data first, as an AMX VMM does. */
  readonly amx?: boolean
  /** Changes the supported CPUID before it is set; null: none is set. */
  readonly cpuid?: ((supported: CpuidEntry2[]) => CpuidEntry2[]) | null
  /** 64-bit ring-0 code, at ENTRY. */
  readonly code?: readonly number[]
  /** Default: a new one. */
  readonly process?: Process
}

/** A process on `host` with a VM and a vCPU, its CPUID set, about to run `code` in 64-bit mode. */
export function makeVmm(host: Host, options: VmmOptions = {}): Vmm {
  const process = options.process ?? host.newProcess('vmm')
  if (options.amx) process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(MEMORY)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  const { cpuid = (supported: CpuidEntry2[]) => supported, code } = options
  if (cpuid !== null) vcpu.setCpuid2(cpuid(kvm.getSupportedCpuid()))
  if (code !== undefined) {
    const bytes = Uint8Array.from(code)
    loadGuestMemory(memory, { entry: ENTRY, segments: [{ address: ENTRY, size: bytes.length, bytes }] })
    setEntryState(vcpu, ENTRY)
  }
  return { host, process, vcpu }
}

/** The same CPUID with CPUID.(0DH,0).EAX and EDX cut down to these components. */
export const onlyComponents =
  (mask: number) =>
  (entries: readonly CpuidEntry2[]): CpuidEntry2[] =>
    entries.map((entry) =>
      entry.function === 0xd && entry.index === 0 ? { ...entry, eax: (entry.eax & mask) >>> 0, edx: 0 } : { ...entry },
    )

/** The same CPUID without one feature bit. */
export function withoutBit(
  entries: readonly CpuidEntry2[],
  leaf: number,
  register: 'eax' | 'ebx' | 'ecx' | 'edx',
  bit: number,
): CpuidEntry2[] {
  const found = findCpuid(entries, leaf)
  return entries.map((entry) =>
    entry === found ? { ...entry, [register]: (entry[register] & ~(1 << bit)) >>> 0 } : { ...entry },
  )
}

/** A guest that has no protection keys: neither the feature nor the component. */
export const withoutPku = (entries: readonly CpuidEntry2[]): CpuidEntry2[] =>
  onlyComponents(~0x200)(withoutBit(entries, 7, 'ecx', 3))

// ---- instructions ----
export const HLT = [0xf4]
/** mov $value, %eax; out %al, $port */
export const out = (port: number, value: number): number[] => [0xb8, ...le32(value), 0xe6, port]
/** XCR0 := value */
export const xsetbv = (value: number): number[] => [0x31, 0xc9, 0x31, 0xd2, 0xb8, ...le32(value), 0x0f, 0x01, 0xd1]
/** wrmsr of a value below 2^32 */
export const wrmsr = (index: number, value: number): number[] => [
  0xb9,
  ...le32(index),
  0x31,
  0xd2,
  0xb8,
  ...le32(value),
  0x0f,
  0x30,
]
/** ldtilecfg of a configuration with eight whole tiles, which the code carries; tilezero %tmm0 .. %tmm7 are left to the caller */
export function loadTileConfiguration(): number[] {
  const configuration = [
    1,
    0,
    ...zeros(14),
    ...Array.from({ length: 8 }, () => [64, 0]).flat(),
    ...zeros(16),
    ...Array(8).fill(16),
    ...zeros(8),
  ]
  // jmp over 64 bytes; ldtilecfg -71(%rip)
  return [0xeb, 64, ...configuration, 0xc4, 0xe2, 0x78, 0x49, 0x05, ...le32(-(64 + 9))]
}
/** tileloadd (%rsp-relative memory of zeros is not data): a tile with the code's own bytes. Row stride 0. */
export const loadTile = (): number[] => [
  ...[0xbe, ...le32(ENTRY)], // mov $ENTRY, %esi
  ...[0x31, 0xff], // xor %edi, %edi: stride 0
  ...[0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x3e], // tileloadd (%rsi,%rdi,1), %tmm0
]

const zeros = (count: number): number[] => Array(count).fill(0)
const le32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff]
