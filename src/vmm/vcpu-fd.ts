import { KVM_CAP, type KvmCapName } from '../kvm/abi/capabilities.ts'
import { KVM_EXIT_MEMORY_FAULT } from '../kvm/abi/exit-reasons.ts'
import type { ValueOf } from '../kvm/abi/struct-layout.ts'
import {
  KVM_RUN_PAGE,
  kvm_debugregs,
  kvm_enable_cap,
  kvm_fpu,
  kvm_guest_debug,
  kvm_interrupt,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_one_reg,
  kvm_regs,
  kvm_sregs,
  kvm_sregs2,
  kvm_translation,
  kvm_vcpu_events,
  kvm_xcrs,
} from '../kvm/abi/structs.ts'
import { EAGAIN, EFAULT, EINTR } from '../linux/errno.ts'
import { type CpuidEntry2, cpuidFromBytes, cpuidRoom, cpuidToBytes } from './cpuid-list.ts'
import { MsrError } from './errors.ts'
import { ExitReader, type VcpuExit } from './exits.ts'
import { MAX_MSR_ENTRIES, type MsrEntry, msrsFromBytes, msrsToBytes } from './msr-list.ts'
import type { Process } from './process.ts'
import type { ProcessMemory } from './process-memory.ts'
import type { VmFd } from './vm-fd.ts'
import type { XsaveGeometry } from './xsave-geometry.ts'
import { XsaveImage } from './xsave-image.ts'

export type KvmRegs = ValueOf<typeof kvm_regs>
export type KvmSregs = ValueOf<typeof kvm_sregs>
export type KvmSregs2 = ValueOf<typeof kvm_sregs2>
export type KvmSegment = KvmSregs['cs']
export type KvmVcpuEvents = ValueOf<typeof kvm_vcpu_events>
export type KvmDebugregs = ValueOf<typeof kvm_debugregs>
export type KvmFpu = ValueOf<typeof kvm_fpu>
export type KvmGuestDebug = ValueOf<typeof kvm_guest_debug>
/** struct kvm_xcr: a number (0 is XCR0) and its value. */
export interface KvmXcr {
  readonly xcr: number
  readonly value: bigint
}
export type KvmTranslation = ValueOf<typeof kvm_translation>

const KVM_XSAVE_BYTES = 4096
const MAX_CPUID_ENTRIES = 256
/** Entries that struct kvm_xcrs has room for. */
const MAX_XCRS = 16
const MAX_REGISTERS = 64

/** KVM_GET_ONE_REG: the guest's live shadow-stack pointer, which is no MSR (CET-17, CET-19). */
export const KVM_REG_GUEST_SSP = 0x2030_0003_0000_0000n
/** KVM_GET_ONE_REG: an MSR. */
export const msrReg = (index: number): bigint => 0x2030_0002_0000_0000n | BigInt(index)

export interface RunOptions {
  /** At most this many guest instructions; then the exit is `interrupted`. Default: until the guest exits. */
  readonly maxInstructions?: number
}

/** A virtual CPU. */
export class VcpuFd {
  readonly vm: VmFd
  readonly id: number
  readonly fd: number
  private readonly process: Process
  private readonly mapping: ProcessMemory
  private readonly runPage: DataView
  private readonly exits: ExitReader
  private xsaveBytes = 0
  private geometryOfHost: XsaveGeometry | null = null

  constructor(vm: VmFd, fd: number, id: number) {
    const { process } = vm.kvm
    this.vm = vm
    this.id = id
    this.fd = fd
    this.process = process
    this.mapping = process.mapShared(fd, vm.kvm.getVcpuMmapSize())
    this.runPage = process.page(this.mapping.address)
    this.exits = new ExitReader(this.runPage, process.page(this.mapping.address + 4096))
  }

  // ---- running ----

  /**
   * KVM_RUN. The exit is valid until the next `run`: objects are used again. What an exit asks for (data of an IN, of an MMIO
   * read) is written into it before the next `run`.
   *
   * @throws KvmError for what is no exit (EINVAL, EIO, EFAULT of an unmapped page)
   */
  run(options?: RunOptions): VcpuExit {
    const limit = options === undefined ? Number.POSITIVE_INFINITY : (options.maxInstructions ?? Number.POSITIVE_INFINITY)
    const result = this.process.backend.run(this.fd, limit)
    if (result === 0) return this.exits.read()
    if (result === -EINTR) return this.exits.interrupted(this.process.backend.interruption)
    if (result === -EAGAIN) return this.exits.interrupted('started')
    if (result === -EFAULT && this.exits.reason === KVM_EXIT_MEMORY_FAULT) return this.exits.read()
    throw this.process.refused('KVM_RUN', result)
  }

  /** While set, KVM_RUN only finishes what the last exit left open and returns `interrupted`. KAPI-19. */
  set immediateExit(value: boolean) {
    this.runPage.setUint8(KVM_RUN_PAGE.immediate_exit, value ? 1 : 0)
  }
  set requestInterruptWindow(value: boolean) {
    this.runPage.setUint8(KVM_RUN_PAGE.request_interrupt_window, value ? 1 : 0)
  }
  /** kvm_run.flags of the last exit: 1 in system management mode, 2 after a bus lock (SLD-41). */
  get runFlags(): number {
    return this.runPage.getUint16(KVM_RUN_PAGE.flags, true)
  }
  get readyForInterruptInjection(): boolean {
    return this.runPage.getUint8(KVM_RUN_PAGE.ready_for_interrupt_injection) !== 0
  }

  /**
   * Finishes the exit that is open, so that registers are those after its instruction; the guest does not run. `interrupted` when
   * done; another exit when the instruction needs one more, which is then to be handled (KAPI-19).
   */
  completeExit(): VcpuExit {
    this.immediateExit = true
    try {
      return this.run()
    } finally {
      this.immediateExit = false
    }
  }

  // ---- registers ----
  getRegs(): KvmRegs {
    return this.process.get(this.fd, 'KVM_GET_REGS', kvm_regs)
  }
  setRegs(regs: KvmRegs): void {
    this.process.set(this.fd, 'KVM_SET_REGS', kvm_regs, regs)
  }
  getSregs(): KvmSregs {
    return this.process.get(this.fd, 'KVM_GET_SREGS', kvm_sregs)
  }
  setSregs(sregs: KvmSregs): void {
    this.process.set(this.fd, 'KVM_SET_SREGS', kvm_sregs, sregs)
  }
  getSregs2(): KvmSregs2 {
    return this.process.get(this.fd, 'KVM_GET_SREGS2', kvm_sregs2)
  }
  setSregs2(sregs: KvmSregs2): void {
    this.process.set(this.fd, 'KVM_SET_SREGS2', kvm_sregs2, sregs)
  }
  getDebugregs(): KvmDebugregs {
    return this.process.get(this.fd, 'KVM_GET_DEBUGREGS', kvm_debugregs)
  }
  setDebugregs(debugregs: KvmDebugregs): void {
    this.process.set(this.fd, 'KVM_SET_DEBUGREGS', kvm_debugregs, debugregs)
  }
  translate(linearAddress: bigint): KvmTranslation {
    return this.process.exchange(this.fd, 'KVM_TRANSLATE', kvm_translation, { linear_address: linearAddress })
  }

  // ---- CPUID ----
  setCpuid2(entries: readonly CpuidEntry2[]): void {
    this.process.ioctlTakes(this.fd, 'KVM_SET_CPUID2', cpuidToBytes(entries))
  }
  /** As set, with the bits KVM keeps up to date (OSXSAVE, sizes of leaf 0DH, ...). */
  getCpuid2(): CpuidEntry2[] {
    const bytes = cpuidRoom(MAX_CPUID_ENTRIES)
    this.process.ioctlBytes(this.fd, 'KVM_GET_CPUID2', bytes)
    return cpuidFromBytes(bytes)
  }

  // ---- MSRs ----

  /** Values of `indices`, ending before the first that cannot be read (KAPI-73). */
  getMsrs(indices: readonly number[]): MsrEntry[] {
    const entries: MsrEntry[] = []
    for (let i = 0; i < indices.length; i += MAX_MSR_ENTRIES) {
      const part = indices.slice(i, i + MAX_MSR_ENTRIES)
      const bytes = msrsToBytes(part.map((index) => ({ index, data: 0n })))
      const done = this.process.ioctlBytes(this.fd, 'KVM_GET_MSRS', bytes)
      entries.push(...msrsFromBytes(bytes, done))
      if (done < part.length) break
    }
    return entries
  }
  /** How many were set; it ends before the first that is refused (KAPI-73). */
  setMsrs(entries: readonly MsrEntry[]): number {
    let done = 0
    for (let i = 0; i < entries.length; i += MAX_MSR_ENTRIES) {
      const part = entries.slice(i, i + MAX_MSR_ENTRIES)
      const accepted = this.process.ioctlTakes(this.fd, 'KVM_SET_MSRS', msrsToBytes(part))
      done += accepted
      if (accepted < part.length) break
    }
    return done
  }
  /** @throws MsrError when it cannot be read */
  readMsr(index: number): bigint {
    const [entry] = this.getMsrs([index])
    if (entry === undefined) throw new MsrError('KVM_GET_MSRS', index, 0, this.process.backend.refusal)
    return entry.data
  }
  /** @throws MsrError when the value is refused */
  writeMsr(index: number, data: bigint): void {
    if (this.setMsrs([{ index, data }]) === 0) throw new MsrError('KVM_SET_MSRS', index, 0, this.process.backend.refusal)
  }

  // ---- registers by id (kernels from 6.18 on; EINVAL before: CET-17) ----

  /** KVM_GET_ONE_REG: `KVM_REG_GUEST_SSP`, or `msrReg(index)`. */
  getOneReg(id: bigint): bigint {
    return this.withOneReg('KVM_GET_ONE_REG', id, 0n)
  }
  setOneReg(id: bigint, value: bigint): void {
    this.withOneReg('KVM_SET_ONE_REG', id, value)
  }
  private withOneReg(name: 'KVM_GET_ONE_REG' | 'KVM_SET_ONE_REG', id: bigint, value: bigint): bigint {
    const place = this.process.allocate(4096)
    try {
      place.write(0, new Uint8Array(BigUint64Array.of(value).buffer))
      this.process.set(this.fd, name, kvm_one_reg, { id, addr: BigInt(place.address) })
      return new DataView(place.bytes(0, 8).buffer).getBigUint64(0, true)
    } finally {
      this.process.release(place)
    }
  }
  /** KVM_GET_REG_LIST: ids of KVM's own registers; MSRs are not among them (CET-18). */
  getRegList(): bigint[] {
    const bytes = new Uint8Array(8 + 8 * MAX_REGISTERS)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(0, BigInt(MAX_REGISTERS), true)
    this.process.ioctlBytes(this.fd, 'KVM_GET_REG_LIST', bytes)
    return Array.from({ length: Number(view.getBigUint64(0, true)) }, (_, i) => view.getBigUint64(8 + 8 * i, true))
  }

  // ---- extended state ----

  /** XCR0, or null on a host without XSAVE. */
  getXcr0(): bigint | null {
    return this.getXcrs().find(({ xcr }) => xcr === 0)?.value ?? null
  }
  setXcr0(value: bigint): void {
    this.setXcrs([{ xcr: 0, value }])
  }
  /** KVM_GET_XCRS as it is: one entry, or none on a host without XSAVE (XSAVE-30). */
  getXcrs(): KvmXcr[] {
    const { nr_xcrs, xcrs } = this.process.get(this.fd, 'KVM_GET_XCRS', kvm_xcrs)
    return xcrs.slice(0, nr_xcrs)
  }
  /** KVM_SET_XCRS: the first entry of XCR0 counts, wherever it stands. More than 16 entries, or flags, are EINVAL (XSAVE-30). */
  setXcrs(xcrs: readonly KvmXcr[], flags = 0): void {
    this.process.set(this.fd, 'KVM_SET_XCRS', kvm_xcrs, { nr_xcrs: xcrs.length, flags, xcrs: xcrs.slice(0, MAX_XCRS) })
  }

  /** KVM_GET_XSAVE: 4096 bytes; EINVAL once the vCPU's CPUID has a dynamic component (XSAVE-03). */
  getXsave(): XsaveImage {
    const bytes = new Uint8Array(KVM_XSAVE_BYTES)
    this.process.ioctlBytes(this.fd, 'KVM_GET_XSAVE', bytes)
    return new XsaveImage(bytes, this.xsaveGeometry)
  }
  /**
   * KVM_GET_XSAVE2 into a buffer of KVM_CHECK_EXTENSION(KVM_CAP_XSAVE2) bytes; what the kernel does not write stays zero
   * (XSAVE-05).
   *
   * @param into an image of an earlier call, to use its memory again
   */
  getXsave2(into?: XsaveImage): XsaveImage {
    const image = into ?? new XsaveImage(new Uint8Array(this.xsaveSize), this.xsaveGeometry)
    image.bytes.fill(0)
    this.process.ioctlBytes(this.fd, 'KVM_GET_XSAVE2', image.bytes)
    return image
  }
  /** The image by KVM_GET_XSAVE2, or by KVM_GET_XSAVE where the kernel has only that. */
  readXsave(): XsaveImage {
    return this.vm.checkExtension('KVM_CAP_XSAVE2') > 0 ? this.getXsave2() : this.getXsave()
  }
  /** KVM_SET_XSAVE. An image shorter than the kernel reads is zero-extended. */
  setXsave(image: XsaveImage | Uint8Array): void {
    const given = image instanceof XsaveImage ? image.bytes : image
    const size = this.xsaveSize
    if (given.length >= size) this.process.ioctlTakes(this.fd, 'KVM_SET_XSAVE', given)
    else {
      const extended = new Uint8Array(size)
      extended.set(given)
      this.process.ioctlTakes(this.fd, 'KVM_SET_XSAVE', extended)
    }
  }
  /** Bytes of an image of `getXsave2`: what KVM_CAP_XSAVE2 says, 4096 where it is not known. */
  get xsaveSize(): number {
    if (this.xsaveBytes === 0) this.xsaveBytes = this.vm.checkExtension('KVM_CAP_XSAVE2') || KVM_XSAVE_BYTES
    return this.xsaveBytes
  }
  private get xsaveGeometry(): XsaveGeometry {
    this.geometryOfHost ??= this.vm.kvm.xsaveGeometry()
    return this.geometryOfHost
  }

  /** KVM_GET_FPU: the legacy region as it lies in the image, whatever XSTATE_BV says; MXCSR reads 0 (XSAVE-28). */
  getFpu(): KvmFpu {
    return this.process.get(this.fd, 'KVM_GET_FPU', kvm_fpu)
  }
  /** KVM_SET_FPU: neither MXCSR nor XSTATE_BV changes (XSAVE-29). */
  setFpu(fpu: KvmFpu): void {
    this.process.set(this.fd, 'KVM_SET_FPU', kvm_fpu, fpu)
  }

  // ---- events ----
  getVcpuEvents(): KvmVcpuEvents {
    return this.process.get(this.fd, 'KVM_GET_VCPU_EVENTS', kvm_vcpu_events)
  }
  setVcpuEvents(events: KvmVcpuEvents): void {
    this.process.set(this.fd, 'KVM_SET_VCPU_EVENTS', kvm_vcpu_events, events)
  }
  getMpState(): number {
    return this.process.get(this.fd, 'KVM_GET_MP_STATE', kvm_mp_state).mp_state
  }
  setMpState(state: number): void {
    this.process.set(this.fd, 'KVM_SET_MP_STATE', kvm_mp_state, { mp_state: state })
  }
  getLapic(): Uint8Array {
    return this.process.get(this.fd, 'KVM_GET_LAPIC', kvm_lapic_state).regs
  }
  setLapic(regs: Uint8Array): void {
    this.process.set(this.fd, 'KVM_SET_LAPIC', kvm_lapic_state, { regs })
  }
  /** Without in-kernel interrupt controller: delivers `vector` when the guest can take it. */
  interrupt(vector: number): void {
    this.process.set(this.fd, 'KVM_INTERRUPT', kvm_interrupt, { irq: vector })
  }
  nmi(): void {
    this.process.ioctl(this.fd, 'KVM_NMI')
  }
  /** KVM_SET_GUEST_DEBUG: single steps and breakpoints of the VMM's own; they end KVM_RUN with exit `debug` (KAPI-56, -57). */
  setGuestDebug(debug: KvmGuestDebug): void {
    this.process.set(this.fd, 'KVM_SET_GUEST_DEBUG', kvm_guest_debug, debug)
  }

  // ---- the rest ----
  enableCap(capability: KvmCapName | number, ...args: bigint[]): void {
    const cap = typeof capability === 'number' ? capability : KVM_CAP[capability]
    this.process.set(this.fd, 'KVM_ENABLE_CAP', kvm_enable_cap, { cap, args })
  }
  /** KVM_KVMCLOCK_CTRL: tells a guest with kvmclock that it was stopped. */
  kvmclockCtrl(): void {
    this.process.ioctl(this.fd, 'KVM_KVMCLOCK_CTRL')
  }
  getTscKhz(): number {
    return this.process.ioctl(this.fd, 'KVM_GET_TSC_KHZ')
  }
  setTscKhz(khz: number): void {
    this.process.ioctl(this.fd, 'KVM_SET_TSC_KHZ', khz)
  }

  close(): void {
    this.process.release(this.mapping)
    this.process.close(this.fd)
  }
}
