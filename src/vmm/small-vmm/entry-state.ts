import type { ProcessMemory } from '../process-memory.ts'
import type { KvmSegment, VcpuFd } from '../vcpu-fd.ts'
import type { GuestFile } from './guest-file.ts'

/** The processor and memory as a guest finds them at entry: docs/guest-contract.md. */

/** Guest-physical addresses of what the VMM keeps in the first MiB. */
const PML4 = 0x1000
const PDPT = 0x2000
const PAGE_DIRECTORY = 0x3000
const GDT = 0x4000
const WORDS = 0x5000
/** With the NUL. */
export const MAX_WORDS_BYTES = 4096
const STACK_TOP = 0xffff0

const PTE_PRESENT_WRITABLE = 3n
const PDE_LARGE = 0x80n
const LARGE_PAGE = 0x200000

/** PG WP NE ET MP PE */
const CR0 = 0x80010033n
/** OSXSAVE OSXMMEXCPT OSFXSR PAE */
const CR4 = 0x40620n
/** NXE LMA LME SCE */
const EFER = 0xd01n

const CODE_SELECTOR = 0x08
const DATA_SELECTOR = 0x10
/** SDM Vol. 3A 3.4.5: 64-bit code, and data, with limit 4 GiB, both already accessed. */
const CODE_DESCRIPTOR = 0x00af9b000000ffffn
const DATA_DESCRIPTOR = 0x00cf93000000ffffn

/** Puts segments, page tables and GDT into guest memory, which is still zero. */
export function loadGuestMemory(memory: ProcessMemory, guest: GuestFile): void {
  memory.write(PML4, quadwords([BigInt(PDPT) | PTE_PRESENT_WRITABLE]))
  memory.write(PDPT, quadwords([BigInt(PAGE_DIRECTORY) | PTE_PRESENT_WRITABLE]))
  const pages = Array.from({ length: 512 }, (_, i) => BigInt(i * LARGE_PAGE) | PDE_LARGE | PTE_PRESENT_WRITABLE)
  memory.write(PAGE_DIRECTORY, quadwords(pages))
  memory.write(GDT, quadwords([0n, CODE_DESCRIPTOR, DATA_DESCRIPTOR]))
  for (const segment of guest.segments) memory.write(segment.address, segment.bytes)
}

/** Puts the words for a guest where it looks for them; at most `MAX_WORDS_BYTES` with the NUL. @returns their address, 0 for none */
export function loadWords(memory: ProcessMemory, words: string): number {
  if (words === '') return 0
  memory.write(WORDS, new TextEncoder().encode(`${words}\0`))
  return WORDS
}

/** Registers at entry. CPUID must be set: long mode is refused without it (KAPI-43). */
export function setEntryState(vcpu: VcpuFd, entry: number, words = 0): void {
  const sregs = vcpu.getSregs()
  const data = segment(DATA_SELECTOR, { type: 3, db: 1, l: 0 })
  vcpu.setSregs({
    ...sregs,
    cs: segment(CODE_SELECTOR, { type: 11, db: 0, l: 1 }),
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    gdt: { base: BigInt(GDT), limit: 3 * 8 - 1 },
    idt: { base: 0n, limit: 0 },
    cr0: CR0,
    cr3: BigInt(PML4),
    cr4: CR4,
    efer: EFER,
  })
  const zero = Object.fromEntries(Object.keys(vcpu.getRegs()).map((name) => [name, 0n])) as ReturnType<VcpuFd['getRegs']>
  vcpu.setRegs({ ...zero, rip: BigInt(entry), rsp: BigInt(STACK_TOP), rdi: BigInt(words), rflags: 2n })
}

function segment(selector: number, kind: Pick<KvmSegment, 'type' | 'db' | 'l'>): KvmSegment {
  return { base: 0n, limit: 0xffffffff, selector, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0, ...kind }
}

function quadwords(values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer)
}
