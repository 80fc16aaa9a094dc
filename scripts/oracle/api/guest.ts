import { KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO } from '../../../src/kvm/abi/exit-reasons.ts'
import { KVM_RUN_PAGE } from '../../../src/kvm/abi/structs.ts'
import type { ProcessMemory } from '../../../src/vmm/process-memory.ts'
import type { KvmSegment } from '../../../src/vmm/vcpu-fd.ts'
import { type Answer, answerOf, type Call, hex } from './calls.ts'
import type { Session } from './session.ts'

const MEMORY_BYTES = 1 << 20
const [GDT, IDT, STUBS, CODE] = [0x5000, 0x6000, 0x7000, 0x8000]
/** `out` to it = the code has run to its end; to the next = an exception, its vector in AL. */
const END_PORT = 0x80
const VECTOR_PORT = 0x81
const LAST_VECTOR = 31

const SEGMENT: KvmSegment = {
  ...{ base: 0n, limit: 0xffffffff, selector: 8, type: 11, present: 1, dpl: 0, db: 0, s: 1, l: 1, g: 1, avl: 0, unusable: 0 },
}
const DATA: KvmSegment = { ...SEGMENT, selector: 16, type: 3, db: 1, l: 0 }

/** RAX, RBX, RCX, RDX. */
export type Registers = readonly [bigint | number, bigint | number, bigint | number, bigint | number]

/**
 * A guest in flat 64-bit mode in 1 MiB that runs a few bytes of code at a time: page tables at 1000H, a stub for each exception at
 * 7000H, code at 8000H.
 */
export class FlatGuest {
  readonly memory: ProcessMemory
  private readonly session: Session
  /** kvm_run, mapped once more: the driver reads its members whatever KVM_RUN returned. */
  private readonly page: DataView
  private readonly pio: DataView

  constructor(session: Session) {
    const { process } = session
    const vcpu = session.vcpu!
    this.session = session
    this.memory = process.allocate(MEMORY_BYTES)
    session.vm!.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: this.memory })
    session.vm!.setTssAddr(0xfffbd000)
    const mapping = process.mapShared(vcpu.fd, session.kvm.getVcpuMmapSize())
    this.page = process.page(mapping.address)
    this.pio = process.page(mapping.address + 4096)
    for (const [at, value] of [
      [0x1000, 0x2003n],
      [0x2000, 0x3003n],
      [0x3000, 0x83n],
      [GDT + 8, 0x00af9b000000ffffn],
      [GDT + 16, 0x00cf93000000ffffn],
    ] as const)
      this.memory.write(at, new Uint8Array(BigUint64Array.of(value).buffer))
    for (let vector = 0; vector <= LAST_VECTOR; vector++) this.gate(vector)
  }

  private gate(vector: number): void {
    const stub = STUBS + vector * 16
    const low = [stub & 0xff, (stub >> 8) & 0xff, 8, 0, 0, 0x8e, (stub >> 16) & 0xff, stub >>> 24]
    this.memory.write(IDT + vector * 16, Uint8Array.of(...low, ...new Array(8).fill(0)))
    this.memory.write(stub, Uint8Array.of(0xb0, vector, 0xe6, VECTOR_PORT, 0xf4, 0xeb, 0xfd))
  }

  /** KVM_SET_SREGS of 64-bit mode with CR4 = PAE, OSFXSR, OSXMMEXCPT and `cr4`. @throws KvmError */
  setSregs(cr4: number): void {
    const vcpu = this.session.vcpu!
    const sregs = vcpu.getSregs()
    vcpu.setSregs({
      ...sregs,
      cr0: 0x80050033n,
      cr3: 0x1000n,
      cr4: BigInt(0x620 | cr4),
      efer: 0x500n,
      cs: SEGMENT,
      ...{ ds: DATA, es: DATA, fs: DATA, gs: DATA, ss: DATA },
      gdt: { ...sregs.gdt, base: BigInt(GDT), limit: 23 },
      idt: { ...sregs.idt, base: BigInt(IDT), limit: 511 },
      tr: { ...sregs.tr, type: 11, present: 1, base: 0xe000n, limit: 0x67, selector: 0 },
    })
  }
  /** The same, unnoted; `orLess`: without OSXSAVE when that is refused. */
  setControls(cr4: number, orLess = false): Answer {
    const answer = answerOf(() => this.setSregs(cr4))
    return orLess && answer.ret !== 0 ? answerOf(() => this.setSregs(0)) : answer
  }

  /** Runs code to its end or to an exception. */
  run(name: string, code: readonly number[], registers: Registers = [0, 0, 0, 0], args: readonly unknown[] = []): void {
    const { session, memory } = this
    const vcpu = session.vcpu!
    memory.write(CODE, new Uint8Array(64).fill(0x90))
    memory.write(CODE, Uint8Array.of(...code, 0xe6, END_PORT, 0xf4))
    const [rax, rbx, rcx, rdx] = registers.map(BigInt)
    const zero = Object.fromEntries(Object.keys(vcpu.getRegs()).map((register) => [register, 0n]))
    vcpu.setRegs({ ...zero, rip: BigInt(CODE), rsp: 0xf000n, rflags: 2n, rax, rbx, rcx, rdx } as ReturnType<typeof vcpu.getRegs>)
    const enter = () => {
      vcpu.run()
    }
    session.calls.call(name, args, enter, () => this.outcome())
    // Finishes the port access, so that state can be changed.
    vcpu.completeExit()
  }

  private outcome(): Call {
    const reason = this.page.getUint32(KVM_RUN_PAGE.exit_reason, true)
    const { rax, rbx, rcx, rdx } = this.session.vcpu!.getRegs()
    return {
      exit_reason: reason,
      ...this.detail(reason),
      ...{ rax: hex(rax), rbx: hex(rbx), rcx: hex(rcx), rdx: hex(rdx) },
    }
  }
  private detail(reason: number): Call {
    const { page } = this
    const exit = KVM_RUN_PAGE.EXIT
    if (reason === KVM_EXIT_FAIL_ENTRY) return { hw_reason: hex(page.getBigUint64(exit, true)) }
    if (reason === KVM_EXIT_INTERNAL_ERROR) return { suberror: page.getUint32(exit, true) }
    if (reason !== KVM_EXIT_IO) return {}
    const offset = Number(page.getBigUint64(exit + 8, true)) - 4096
    return page.getUint16(exit + 2, true) === VECTOR_PORT ? { guest_vector: this.pio.getUint8(offset) } : { guest: 'ok' }
  }

  // ---- one instruction ----

  nop(): void {
    this.run('guest_nop', [0x90])
  }
  wrmsr(index: number, value: bigint): void {
    this.run('guest_wrmsr', [0x0f, 0x30], [low(value), 0, index, high(value)], [hex(index), hex(value)])
  }
  rdmsr(index: number): void {
    this.run('guest_rdmsr', [0x0f, 0x32], [0, 0, index, 0], [hex(index)])
  }
  xsetbv(value: bigint): void {
    this.run('guest_xsetbv', [0x0f, 0x01, 0xd1], [low(value), 0, 0, high(value)], [hex(value)])
  }
  xgetbv(index: number): void {
    this.run('guest_xgetbv', [0x0f, 0x01, 0xd0], [0, 0, index, 0], [index])
  }
  cpuid(leaf: number, subleaf: number): void {
    this.run('guest_cpuid', [0x0f, 0xa2], [leaf, 0, subleaf, 0], [hex(leaf), subleaf])
  }
}

const low = (value: bigint): bigint => value & 0xffffffffn
const high = (value: bigint): bigint => value >> 32n
