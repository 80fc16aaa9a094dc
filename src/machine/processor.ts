import { DR6_BUS_LOCK } from '../isa/control-registers.ts'
import type { CpuidRegisters } from '../isa/cpu-model.ts'
import { processorCpuid } from '../isa/processor-cpuid.ts'
import type { AddressSpace } from './address-space.ts'
import { AmxUnit, type TileMemory } from './amx/amx-unit.ts'
import { missEndbranch } from './branch-tracker.ts'
import { isCetOn, shadowStackEnabled } from './cet.ts'
import { contextTag, type Region } from './code-cache.ts'
import { COUNT_PL0_SSP, COUNT_XFD, COUNT_XFD_ERR, COUNT_XSS, countedMsr } from './counters.ts'
import { DescriptorReader } from './descriptors.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import {
  EXIT_REASON_BUS_LOCK,
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_INVALID_STATE,
  EXIT_REASON_PREEMPTION_TIMER,
  HOST_EXIT_BUDGET,
  HOST_EXIT_EXCEPTION,
} from './exits.ts'
import { FloatUnit } from './float/float-unit.ts'
import { floatFast } from './float/mxcsr.ts'
import { X87 } from './float/x87.ts'
import { GuestEvents } from './guest-events.ts'
import type { Machine } from './machine.ts'
import {
  CONTEXT_TAG,
  FLOAT_FAST,
  MODE,
  MXCSR,
  PHYSICAL_BASE,
  PKRU,
  PL0_SSP,
  PL3_SSP,
  REGISTER_FILE,
  SCRATCH_BASE,
  SEGMENT,
  TLB_ENTRY_SIZE,
  TLB_MASK,
  TLB_POINTER,
  X87_FCW,
  XCR0,
  XFD,
  XFD_ERR,
  XSS,
} from './memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK, MODE_ENDBRANCH_DUE } from './mode.ts'
import { computeMode } from './mode-of-context.ts'
import { ACCESS_FETCH, WALK_NO_MEMORY, WALK_NOT_CANONICAL, WALK_OK, WALK_PAGE_FAULT } from './page-walk.ts'
import { readMsr, resetMsrs, writeMsr } from './processor-msrs.ts'
import { parkUserSsp, ShadowTransfer } from './shadow-transfer.ts'
import { processorSupervisorState } from './supervisor-state.ts'
import {
  EXIT_BUDGET,
  EXIT_FAULT,
  EXIT_FAULT_EXACT,
  EXIT_HOT,
  EXIT_JUMP,
  EXIT_LEAVE,
  EXIT_MISS,
  EXIT_RESYNC,
  unretired,
} from './translate/emitter.ts'
import { entryTakesCetState } from './vm-entry-checks.ts'
import { EMULATE_DONE, EMULATE_EXCEPTION, EMULATE_NEEDS_DATA, type MmioPort, type Vmcs } from './vmcs.ts'
import { xsaveBehaviour } from './xsave/behaviour.ts'
import type { RestoreForm, SaveForm } from './xsave/forms.ts'
import { XsaveEngine } from './xsave/xsave-engine.ts'

/** A region leaves at the latest after this many instructions, so that V8 can enter its optimized code. */
const CHUNK = 50_000

/** What a slow path or call-out raised (Processor.raised). */
export const RAISED_NOTHING = 0
export const RAISED_EXCEPTION = 1
export const RAISED_VM_EXIT = 2
/** An MMIO read for which the port had no data. */
export const RAISED_NEEDS_DATA = 3
/** The instruction writes compiled code: run it alone. */
export const RAISED_STEP = 4

const RFLAGS_TF = 0x100
const RFLAGS_RF = 0x10000
const DR6_BS = 0x4000

export interface Fault {
  vector: number
  hasErrorCode: boolean
  errorCode: number
  /** Linear address of a #PF. */
  addressLo: number
  addressHi: number
  /** DR6 bits a #DB reports. */
  dr6: number
  /** Why, in words, when the machine knows more than the vector says. */
  reason: string | null
}

const HAS_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30])

/** A logical processor. Kernel code that may not be preempted is given one of these. */
export class Processor {
  readonly machine: Machine
  readonly id: number
  /** Wasm offset of the register file (x87, vector, tiles, MXCSR, PKRU, XCR0 ...). */
  readonly registerFile: number
  readonly xsaveEngine: XsaveEngine
  readonly fault: Fault = { vector: 0, hasErrorCode: false, errorCode: 0, addressLo: 0, addressHi: 0, dr6: 0, reason: null }
  /** Instructions retired by the last runHost, enterGuest or emulateInstruction. */
  retired = 0
  /** Model-specific registers of this processor that have no place in a context or register file. */
  readonly msrs: Map<number, bigint>
  /** The hyper-threads of its core, itself among them. */
  core: readonly Processor[] = [this]

  // Of the run under way.
  context!: ExecutionContext
  space!: AddressSpace
  /** Guest being run; null while host code runs. */
  vmcs: Vmcs | null = null
  mmioPort: MmioPort | null = null
  user = true
  stepping = false
  /** The instruction that runs alone took a bus lock that is detected: #DB or a VM exit follows it. */
  busLock = false
  /** An emulated instruction had a locked operand across cache lines: it was written plainly (SLD-46). */
  emulatedSplitLock = false
  raised = RAISED_NOTHING
  /** accessInfo of the slow path or call-out under way. */
  lastInfo = 0
  /** Reason a call-out left with (EXIT_LEAVE), and whether its instruction has retired. */
  leaveReason = 0
  leaveCompleted = false
  /** Length of an instruction that was met and is not supported, until it is noted; 0 = none. */
  undefinedLength = 0
  /** Instructions left to the caller's budget, without the chunk under way. */
  private left = 0
  private runBudget = 0
  private chunk = 0
  /** Reads GDT and LDT entries for this processor. */
  readonly descriptors: DescriptorReader
  /** What far transfers and events do to shadow stacks. */
  readonly shadow: ShadowTransfer
  readonly amx: AmxUnit
  /** Exact SSE and AVX floating point, for what compiled code cannot do natively. */
  readonly float: FloatUnit
  readonly x87: X87
  /** How tile loads and stores reach memory: as this processor's data accesses. */
  readonly tileMemory: TileMemory
  /** MXCSR bits that LDMXCSR refuses. */
  readonly mxcsrReserved: number
  private readonly events: GuestEvents

  constructor(machine: Machine, id: number, registerFile: number) {
    this.machine = machine
    this.id = id
    this.registerFile = registerFile
    this.msrs = resetMsrs(machine.model)
    this.events = new GuestEvents(this)
    this.descriptors = new DescriptorReader(this)
    this.shadow = new ShadowTransfer(this)
    this.amx = new AmxUnit(machine.mem, registerFile)
    this.float = new FloatUnit(machine.mem.buffer)
    this.x87 = new X87(machine.mem.buffer, registerFile)
    this.tileMemory = {
      readRow: (lo, hi, bytes, destination) => (machine.slow.readLinear(lo, hi, destination, bytes) ? 0 : -1),
      writeRow: (lo, hi, bytes, source) =>
        machine.slow.probeWrite(lo, hi, bytes) && machine.slow.writeLinear(lo, hi, source, bytes) ? 0 : -1,
    }
    const behaviour = xsaveBehaviour(machine.model)
    this.mxcsrReserved = behaviour.mxcsrReserved
    this.xsaveEngine = new XsaveEngine(machine.mem, registerFile, machine.model.xstate, {
      behaviour,
      supervisor: processorSupervisorState(this),
      xsavec: machine.model.has('xsavec'),
    })
    this.setXcr0(1)
    this.setMxcsr(0x1f80)
    machine.mem.u16[(registerFile + X87_FCW) >> 1] = 0x37f
  }

  // ---- running ----
  /**
   * Runs host user code until an exit or until exactly `budget` instructions have retired.
   * @returns HOST_EXIT_*; exceptions are described by `fault`
   */
  runHost(ctx: ExecutionContext, space: AddressSpace, budget: number): number {
    this.begin(ctx, space, null, budget)
    this.takeShadowPointer()
    const reason = this.loop()
    this.parkShadowPointer()
    this.finish(budget)
    return reason
  }

  /**
   * VM entry. @returns the basic exit reason, EXIT_REASON_*; details in `vmcs`. Exactly `budget` retired instructions
   * end with EXIT_REASON_PREEMPTION_TIMER. EXIT_REASON_INVALID_STATE: the entry failed, nothing has changed.
   */
  enterGuest(vmcs: Vmcs, budget: number): number {
    this.machine.counters.vmEntries++
    this.begin(vmcs.context, vmcs.space, vmcs, budget)
    vmcs.idtVectoringInfo = 0
    let reason = entryTakesCetState(this.machine.model, vmcs.context) ? this.events.inject() : EXIT_REASON_INVALID_STATE
    if (reason < 0) reason = this.loop()
    this.finish(budget)
    return reason
  }

  /**
   * Runs one guest instruction; accesses to guest-physical addresses without second-stage entry go to `port`.
   * @returns EMULATE_*; an exception (or other exit) of the instruction is in `vmcs` with its reason in `leaveReason`
   */
  emulateInstruction(vmcs: Vmcs, port: MmioPort): number {
    this.begin(vmcs.context, vmcs.space, vmcs, 1)
    this.mmioPort = port
    this.emulatedSplitLock = false
    let result = EMULATE_DONE
    const reason = this.stepOnce()
    if (this.raised === RAISED_NEEDS_DATA) result = EMULATE_NEEDS_DATA
    else if (reason >= 0 && reason !== EXIT_REASON_PREEMPTION_TIMER) {
      this.leaveReason = reason
      result = EMULATE_EXCEPTION
    }
    this.mmioPort = null
    this.finish(1)
    return result
  }

  /** Return to user mode: SSP comes from IA32_PL3_SSP (SDM Vol. 1, 17.2.4). */
  private takeShadowPointer(): void {
    if (this.context.cpl !== 3 || !isCetOn(this.context)) return
    const w = (this.registerFile + PL3_SSP) >> 2
    const { i32 } = this.machine.mem
    this.context.setCtl(CTL.SSP, i32[w], i32[w + 1])
  }
  /** Entry to the kernel: SSP goes to IA32_PL3_SSP, if user shadow stacks are on. */
  private parkShadowPointer(): void {
    if (this.context.cpl === 3 && shadowStackEnabled(this, this.context, 3)) parkUserSsp(this, this.context)
  }

  private begin(ctx: ExecutionContext, space: AddressSpace, vmcs: Vmcs | null, budget: number): void {
    this.context = ctx
    this.space = space
    this.vmcs = vmcs
    this.machine.slow.processor = this
    this.machine.tlbs.shrink(space)
    this.left = this.runBudget = budget
    ctx.mem.u32[(ctx.base + REGISTER_FILE) >> 2] = this.registerFile
    this.refresh()
  }

  private finish(budget: number): void {
    this.retired = budget - this.left
    this.machine.retired += this.retired
    if (this.vmcs !== null) this.machine.counters.guestRetired += this.retired
    this.vmcs = null
  }

  /** Recomputes what depends on control registers, segments and translations: mode, TLB, jump-cache tag. */
  refresh(): void {
    const ctx = this.context
    this.space.validate(ctx, this.pkru)
    const mode = computeMode(ctx, this.registerFile, this.machine.mem)
    this.user = ctx.cpl === 3
    const u32 = ctx.mem.u32
    u32[(ctx.base + MODE) >> 2] = mode
    this.useTlb()
    u32[(ctx.base + CONTEXT_TAG) >> 2] = contextTag(this.space.generation, mode)
  }

  /** Points the running context at its space's software TLB. */
  useTlb(): void {
    const { base } = this.context
    const { u32 } = this.machine.mem
    const user = this.user ? 1 : 0
    u32[(base + TLB_POINTER) >> 2] = this.machine.tlbs.tlbOf(this.space, user)
    u32[(base + TLB_MASK) >> 2] = (this.space.tlbEntries[user] - 1) * TLB_ENTRY_SIZE
  }

  private loop(): number {
    const code = this.machine.code
    const ctx = this.context
    for (;;) {
      if (ctx.rflagsRest & RFLAGS_TF || ctx.ctlLo(CTL.INTERRUPTIBILITY) & 3) {
        const reason = this.left > 0 ? this.stepWithTraps() : this.budgetReason()
        if (reason >= 0) return reason
        continue
      }
      if (this.vmcs !== null) {
        const reason = this.events.windowExit()
        if (reason >= 0) return reason
      }
      if (this.left === 0) return this.budgetReason()
      this.grant(Math.min(this.left, CHUNK))
      const reason = this.afterRegion(code.run(ctx.base, this.registerFile))
      if (reason >= 0) return reason
    }
  }

  private budgetReason(): number {
    return this.vmcs === null ? HOST_EXIT_BUDGET : EXIT_REASON_PREEMPTION_TIMER
  }

  private grant(chunk: number): void {
    this.chunk = chunk
    this.context.budget = chunk
  }
  /** Takes what compiled code used of the chunk off the budget. */
  private settle(): number {
    const used = this.chunk - this.context.budget
    this.left -= used
    this.chunk = 0
    return used
  }

  /** -1 to go on, or the reason to return with. */
  private afterRegion(exitCode: number): number {
    const used = this.settle()
    switch (exitCode) {
      case EXIT_JUMP:
        return -1
      case EXIT_MISS:
        return this.miss()
      case EXIT_BUDGET:
        if (used === 0) return this.left > 0 ? this.stepOnce() : -1
        return this.heat()
      case EXIT_HOT:
        return this.heat()
      case EXIT_FAULT:
        this.context.advanceRip((this.lastInfo >>> 7) & 0xfff)
        this.left += unretired(this.lastInfo)
        if (this.undefinedLength > 0) this.noteUndefined()
        return this.handleRaised()
      case EXIT_FAULT_EXACT:
        this.left += unretired(this.lastInfo)
        return this.handleRaised()
      case EXIT_RESYNC:
        this.left += unretired(this.lastInfo) - 1
        this.refresh()
        return -1
      case EXIT_LEAVE:
        this.left += unretired(this.lastInfo) - (this.leaveCompleted ? 1 : 0)
        return this.leaveReason
      default:
        throw new Error(`compiled code returned ${exitCode}`)
    }
  }

  // ---- compiled code on demand ----
  private miss(): number {
    const region = this.regionAt(false)
    if (region === null) return this.handleRaised()
    const ctx = this.context
    const offset = this.pageOffset()
    this.machine.code.remember(region, ctx.base, ctx.ripLo, ctx.ripHi, offset)
    this.grant(Math.min(this.left, CHUNK))
    return this.afterRegion(this.machine.code.enter(region, ctx.base, this.registerFile, offset))
  }

  /** The region at RIP has run often or long: compiles it for speed. -1 to go on, or the reason to return with. */
  private heat(): number {
    const region = this.regionAt(false)
    if (region === null) return this.handleRaised()
    this.machine.code.heat(region)
    return -1
  }

  private codeBaseLo(): number {
    return (this.mode & MODE_CODE_MASK) === MODE_CODE_64 ? 0 : this.context.segmentBaseLo(SEGMENT.CS)
  }
  private get mode(): number {
    return this.context.mem.u32[(this.context.base + MODE) >> 2]
  }
  private pageOffset(): number {
    return (this.context.ripLo + this.codeBaseLo()) & 0xfff
  }

  /** The region (or single-instruction region) for RIP, compiled now if need be; null after raising a fault. */
  private regionAt(single: boolean): Region | null {
    const ctx = this.context
    const is64 = (this.mode & MODE_CODE_MASK) === MODE_CODE_64
    const lo = (ctx.ripLo + this.codeBaseLo()) | 0
    const hi = is64 ? ctx.ripHi : 0
    const offset = lo & 0xfff
    this.lastInfo = 0
    const page = this.fetchPage(lo, hi)
    if (page < 0) return null
    const ripLo = (ctx.ripLo - offset) | 0
    const ripHi = is64 ? ctx.ripHi : 0
    const mode = this.mode
    const code = this.machine.code
    return (
      code.find(page, -1, ripLo, ripHi, mode, offset, single) ??
      code.compile(page, -1, ripLo, ripHi, mode, offset, single) ??
      this.regionAcross(page, lo, hi, ripLo, ripHi, mode, offset, single)
    )
  }

  /** The instruction at RIP crosses into the next page, whichever that is now, or is none. */
  private regionAcross(
    page: number,
    lo: number,
    hi: number,
    ripLo: number,
    ripHi: number,
    mode: number,
    offset: number,
    single: boolean,
  ): Region | null {
    const code = this.machine.code
    if (offset > 4096 - 15) {
      const tail = this.fetchPage((lo | 0xfff) + 1, (lo | 0xfff) === -1 ? hi + 1 : hi)
      if (tail < 0) return null
      const region =
        code.find(page, tail, ripLo, ripHi, mode, offset, single) ?? code.compile(page, tail, ripLo, ripHi, mode, offset, single)
      if (region !== null) return region
    }
    if ((mode & MODE_ENDBRANCH_DUE) !== 0) {
      missEndbranch(this, this.context)
      return null
    }
    this.noteInvalid(page, offset)
    this.raise(6, 0, 'the bytes are no instruction')
    return null
  }

  /** Physical page for an instruction fetch, or -1 after raising the fault. */
  private fetchPage(lo: number, hi: number): number {
    const walk = this.machine.pageWalk
    const status = walk.walk(this.context, this.space.secondStage, lo, hi, ACCESS_FETCH, this.user, this.registerFile)
    if (status === WALK_OK) return walk.hpaPage
    if (status === WALK_PAGE_FAULT) this.raisePageFault(lo, hi, walk.errorCode)
    else if (status === WALK_NOT_CANONICAL) this.raiseGeneralProtection('RIP is not canonical')
    else if (status === WALK_NO_MEMORY) this.raise(6, 0, 'no memory at RIP: reads as ones')
    else this.raiseEptViolation(walk.gpa + (walk.gpaIsFinal ? lo & 0xfff : 0), walk.gpaAccess, lo, hi)
    return -1
  }

  /** Names the unsupported instruction at RIP in the machine's log. */
  private noteUndefined(): void {
    const length = this.undefinedLength
    this.undefinedLength = 0
    const { raised } = this
    const fault = { ...this.fault }
    if (this.machine.slow.readLinear((this.context.ripLo + this.codeBaseLo()) | 0, this.context.ripHi, SCRATCH_BASE, length)) {
      this.machine.noteUnsupported(SCRATCH_BASE, length, this.mode, this.context.rip)
    }
    Object.assign(this.fault, fault)
    this.raised = raised
  }

  private noteInvalid(page: number, offset: number): void {
    const bytes = this.machine.mem.u8.subarray(
      PHYSICAL_BASE + page * 4096 + offset,
      PHYSICAL_BASE + page * 4096 + Math.min(4096, offset + 15),
    )
    const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
    this.machine.unsupported.note({ mnemonic: '(invalid)', bytes: hex, features: [], reason: 'invalid', rip: this.context.rip })
  }

  /** Delivery of INT n to a guest; -1 or an exit reason. */
  deliverSoftware(vector: number, type: number): number {
    return this.events.software(vector, type)
  }

  // ---- single steps ----
  /** Runs exactly one instruction; -1 to go on, or the reason to return with. */
  private stepOnce(): number {
    this.raised = RAISED_NOTHING
    const region = this.regionAt(true)
    if (region === null) return this.handleRaised()
    this.stepping = true
    this.grant(1)
    this.busLock = false
    const exitCode = this.machine.code.enter(region, this.context.base, this.registerFile, this.pageOffset())
    this.stepping = false
    if (this.busLock) return this.afterBusLock(this.afterRegion(exitCode))
    return this.afterRegion(exitCode)
  }

  /**
   * What a detected bus lock does once its instruction is complete (SLD-08, SLD-41): a VM exit, else the debug exception, which
   * a single-step trap joins. @param reason -1, or why the instruction itself leaves: then nothing was locked.
   */
  private afterBusLock(reason: number): number {
    this.busLock = false
    if (reason >= 0 || this.raised !== RAISED_NOTHING) return reason
    if (this.vmcs?.controls.busLockExiting === true) return EXIT_REASON_BUS_LOCK
    this.raise(1, 0, 'bus lock')
    this.fault.dr6 = DR6_BUS_LOCK | ((this.context.rflagsRest & RFLAGS_TF) !== 0 ? DR6_BS : 0)
    this.context.setCtl(CTL.INTERRUPTIBILITY, this.context.ctlLo(CTL.INTERRUPTIBILITY) & ~3, 0)
    return this.handleRaised()
  }

  /** One instruction under RFLAGS.TF or an interrupt shadow. */
  private stepWithTraps(): number {
    const ctx = this.context
    const trap = (ctx.rflagsRest & RFLAGS_TF) !== 0
    const shadow = ctx.ctlLo(CTL.INTERRUPTIBILITY)
    const before = this.left
    const reason = this.stepOnce()
    // The shadow lasts one instruction, unless that instruction made a new one.
    if ((shadow & 3) !== 0 && ctx.ctlLo(CTL.INTERRUPTIBILITY) === shadow) ctx.setCtl(CTL.INTERRUPTIBILITY, shadow & ~3, 0)
    // A bus-lock trap has reported the step already.
    if (reason >= 0 || !trap || this.left === before || this.raised !== RAISED_NOTHING) return reason
    this.raise(1, 0, 'single step')
    this.fault.dr6 = DR6_BS
    return this.handleRaised()
  }

  // ---- faults ----
  /** Records an exception; call-outs then return EXIT_FAULT_EXACT, assists 1. */
  raise(vector: number, errorCode: number, reason: string | null = null): void {
    const f = this.fault
    f.vector = vector
    f.hasErrorCode = HAS_ERROR_CODE.has(vector)
    f.errorCode = errorCode
    f.addressLo = f.addressHi = f.dr6 = 0
    f.reason = reason
    this.raised = RAISED_EXCEPTION
  }
  raisePageFault(lo: number, hi: number, errorCode: number): void {
    this.raise(14, errorCode)
    this.fault.addressLo = lo
    this.fault.addressHi = hi
  }
  raiseGeneralProtection(reason: string): void {
    this.raise(13, 0, reason)
  }
  raiseNeedsData(): void {
    this.raised = RAISED_NEEDS_DATA
  }
  raiseEptViolation(gpa: number, access: number, lo: number, hi: number): void {
    const v = this.vmcs!
    v.exitGpa = gpa
    v.exitAccess = access
    v.exitQualification = access | 0x80
    v.exitAddressLo = lo
    v.exitAddressHi = hi
    this.leaveReason = EXIT_REASON_EPT_VIOLATION
    this.raised = RAISED_VM_EXIT
  }
  /** A call-out's VM exit before its instruction completes: returns EXIT_LEAVE. */
  vmExit(reason: number, completed = false): number {
    this.vmcs!.exitInstructionLength = this.lastInfo & 0x7f
    this.leaveReason = reason
    this.leaveCompleted = completed
    return EXIT_LEAVE
  }
  /** Leaves runHost with a HOST_EXIT_* reason after a completed instruction. */
  leaveHost(reason: number): number {
    this.leaveReason = reason
    this.leaveCompleted = true
    return EXIT_LEAVE
  }

  /** -1 to go on, or the reason to return with. */
  private handleRaised(): number {
    const raised = this.raised
    switch (raised) {
      case RAISED_STEP:
        return this.left > 0 ? this.stepOnce() : -1
      case RAISED_VM_EXIT:
        return this.leaveReason
      case RAISED_NEEDS_DATA:
        return EXIT_REASON_PREEMPTION_TIMER
      default:
        if (this.vmcs === null) {
          this.setResumeFlag()
          return HOST_EXIT_EXCEPTION
        }
        return this.events.exception()
    }
  }

  /** Fault-class exceptions are saved with RF set (SDM Vol. 3, 18.3.1.1). */
  private setResumeFlag(): void {
    if (this.fault.vector !== 1 && this.fault.vector !== 3 && this.fault.vector !== 4) this.context.rflagsRest |= RFLAGS_RF
  }

  // ---- instructions the kernel executes itself ----
  /** XSAVE family at CPL 0 on wasm offset `image`; `requested` as EDX:EAX (low half). Counted. */
  xsave(form: SaveForm, image: number, requested: number): void {
    const counters = this.machine.counters
    this.xsaveEngine.save(image, requested, form)
    counters.xsaveExecuted++
    counters.xsaveBytes += this.xsaveEngine.moved
  }
  /** @returns 0, or the vector it faulted with (7: IA32_XFD_ERR is set; 13) */
  xrstor(form: RestoreForm, image: number, requested: number): number {
    const { counters } = this.machine
    const vector = this.xsaveEngine.restore(image, requested, form)
    counters.xrstorExecuted++
    counters.xrstorBytes += this.xsaveEngine.moved
    if (vector === 0) this.afterRestore()
    return vector
  }
  /** MXCSR or PKRU may have changed. */
  afterRestore(): void {
    this.setMxcsr(this.registerFile32(MXCSR))
  }

  /** CPUID as this processor answers it now: with the run-time bits of the running context. Numbers are unsigned. */
  cpuid(leaf: number, subleaf: number): CpuidRegisters {
    const ctx = this.context as ExecutionContext | undefined
    return processorCpuid(
      this.machine.model,
      {
        apicId: this.id,
        logicalProcessors: this.machine.processors.length,
        threadsPerCore: this.machine.threadsPerCore,
        cr4: ctx?.ctlLo(CTL.CR4) ?? 0,
        xcr0: this.xcr0,
        xss: this.xss,
        in64BitMode: ctx !== undefined && (this.mode & MODE_CODE_MASK) === MODE_CODE_64,
      },
      leaf,
      subleaf,
    )
  }
  /** MAXPHYADDR that MOV CR3 checks; a hypervisor may set a smaller one for its guest. */
  get guestMaxPhysAddr(): number {
    return this.vmcs?.maxPhysAddr ?? this.machine.model.maxPhysAddr
  }

  registerFile32(offset: number): number {
    return this.machine.mem.i32[(this.registerFile + offset) >> 2]
  }
  setRegisterFile32(offset: number, value: number): void {
    this.machine.mem.i32[(this.registerFile + offset) >> 2] = value
  }
  setMxcsr(value: number): void {
    this.setRegisterFile32(MXCSR, value)
    this.setRegisterFile32(FLOAT_FAST, this.machine.nativeFloat ? floatFast(value) : 0)
  }
  /** RDMSR by the kernel. Counted. RangeError where the processor would raise #GP: ask `hasMsr` first. */
  rdmsr(index: number): bigint {
    this.machine.counters.msrReadsOf[countedMsr(index)]++
    const value = readMsr(this, index)
    if (value === undefined) throw new RangeError(`RDMSR ${index.toString(16)}h: this CPU model has no such register`)
    return value
  }
  hasMsr(index: number): boolean {
    return readMsr(this, index) !== undefined
  }
  /** WRMSR by the kernel: 0, or 13 where the processor raises #GP(0). Counted. */
  wrmsr(index: number, value: bigint): number {
    this.machine.counters.msrWritesOf[countedMsr(index)]++
    return writeMsr(this, index, value)
  }

  get xcr0(): number {
    return this.registerFile32(XCR0)
  }
  /** XSETBV by the kernel. Counted. */
  setXcr0(value: number): void {
    this.machine.counters.xsetbv++
    this.setRegisterFile32(XCR0, value)
  }
  get xss(): number {
    return this.registerFile32(XSS)
  }
  setXss(value: number): void {
    this.machine.counters.msrWritesOf[COUNT_XSS]++
    this.setRegisterFile32(XSS, value)
  }
  get xfd(): number {
    return this.registerFile32(XFD)
  }
  /** WRMSR of IA32_PLn_SSP, n = 0..2, with a value that is canonical and aligned. Counted. */
  wrmsrSsp(n: number, lo: number, hi: number): void {
    this.machine.counters.msrWritesOf[COUNT_PL0_SSP + n]++
    this.setRegisterFile32(PL0_SSP + n * 8, lo)
    this.setRegisterFile32(PL0_SSP + n * 8 + 4, hi)
  }
  /** RDMSR of IA32_PLn_SSP, n = 0..2: low and high half to `into[at]` and the next. Counted. */
  rdmsrSsp(n: number, into: Int32Array, at: number): void {
    this.machine.counters.msrReadsOf[COUNT_PL0_SSP + n]++
    into[at] = this.registerFile32(PL0_SSP + n * 8)
    into[at + 1] = this.registerFile32(PL0_SSP + n * 8 + 4)
  }
  /** RDMSR of IA32_XFD. */
  rdmsrXfd(): number {
    this.machine.counters.msrReadsOf[COUNT_XFD]++
    return this.xfd
  }
  wrmsrXfd(value: number): void {
    this.machine.counters.msrWritesOf[COUNT_XFD]++
    this.setRegisterFile32(XFD, value)
  }
  readXfdErr(): number {
    this.machine.counters.msrReadsOf[COUNT_XFD_ERR]++
    return this.registerFile32(XFD_ERR)
  }
  writeXfdErr(value: number): void {
    this.machine.counters.msrWritesOf[COUNT_XFD_ERR]++
    this.setRegisterFile32(XFD_ERR, value)
  }
  get pkru(): number {
    return this.registerFile32(PKRU)
  }
  /** WRPKRU by the kernel. Counted. */
  setPkru(value: number): void {
    this.machine.counters.wrpkru++
    this.loadPkru(value)
  }
  /** PKRU from now on. Translations are checked against it when code runs next (`AddressSpace.validate`). */
  loadPkru(value: number): void {
    this.setRegisterFile32(PKRU, value)
  }
  /** Virtual TSC of this processor, in cycles since the machine was made. */
  tsc(): number {
    const { tscKhz, instructionsPerMicrosecond } = this.machine.model
    const retired = this.machine.retired + this.machine.idle + this.retiredInRun()
    return Math.floor((retired * tscKhz) / (instructionsPerMicrosecond * 1000))
  }
  /** Instructions retired in the run under way, at a call-out. */
  private retiredInRun(): number {
    if (this.chunk === 0) return 0
    return this.runBudget - (this.left - (this.chunk - this.context.budget) + unretired(this.lastInfo))
  }
}
