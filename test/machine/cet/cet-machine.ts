import type { EngineOptions } from '../../../src/machine/code-cache.ts'
import { CTL, type ExecutionContext, REG } from '../../../src/machine/execution-context.ts'
import { EXIT_REASON_EXCEPTION_NMI, HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../../src/machine/exits.ts'
import { PHYSICAL_BASE, PL0_SSP, PL3_SSP, SEGMENT, U_CET } from '../../../src/machine/memory-map.ts'
import type { Processor } from '../../../src/machine/processor.ts'
import { EPT_EXECUTE, EPT_READ, EPT_WRITE, SecondStage } from '../../../src/machine/second-stage.ts'
import { Vmcs } from '../../../src/machine/vmcs.ts'
import { BareHost, sapphireRapidsModel } from '../bare-host.ts'
import { addressOf, codeImage } from './code-image.ts'

/** Four user and four supervisor shadow-stack pages each; SSP starts at their end. */
export const USER_SHADOW = 0x40000
export const SUPERVISOR_SHADOW = 0x50000
const SHADOW_PAGES = 4
export const SHADOW_BYTES = SHADOW_PAGES * 4096
/** An ordinary page only the supervisor may use. */
export const SUPERVISOR_PAGE = 0x60000
export const DATA = 0x20000
export const STACK_TOP = 0x2f000
export const LEGACY_BITMAP = 0x30000
const GDT = 0x24000
export const IDT = 0x25000
const TSS = 0x26000
export const SSP_TABLE = 0x27000
/** RSP0, RSP1 and IST1 of the task-state segment. */
export const RSP0 = 0x2e000
export const RSP1 = 0x2c000
export const IST1 = 0x2d000

export const CODE0 = 0x08
export const DATA0 = 0x10
export const CODE32_USER = 0x1b
export const DATA_USER = 0x23
export const CODE_USER = 0x2b
export const CODE1 = 0x39
export const DATA1 = 0x41

/** Upper halves of the descriptors, from selector 8 on: 64-bit code, data, 32-bit user code, user data, 64-bit user code, ... */
const DESCRIPTORS = [0x00af9b00, 0x00cf9300, 0x00cffb00, 0x00cff300, 0x00affb00, 0x00cf9b00, 0x00afbb00, 0x00cfb300]

export const SH_STK_EN = 1
export const WR_SHSTK_EN = 2
export const ENDBR_EN = 4
export const LEG_IW_EN = 8
export const NO_TRACK_EN = 0x10
export const SUPPRESS_DIS = 0x20
export const SUPPRESS = 0x400
export const TRACKER = 0x800

export type Level = 0 | 3
/** How a run ended: with an exception, a HLT (vector 'hlt'), ..., and where. */
export interface Outcome {
  vector: number | string
  errorCode: number
  rip: number
}
/** UD2, with which every routine ends. */
export const DONE = 6
export const CP = 21
export const GP = 13
export const PF = 14

/** A processor with cet-code.elf at 0x10000: bare, or with a guest. Linear addresses below 1 MiB are (guest-)physical ones. */
export abstract class CetMachine {
  abstract readonly host: BareHost
  abstract readonly ctx: ExecutionContext
  /** Wasm offset of address 0. */
  protected abstract readonly memory: number
  readonly cpl: Level

  constructor(cpl: Level) {
    this.cpl = cpl
  }
  /** Runs from RIP. */
  abstract go(budget?: number): Outcome

  get processor(): Processor {
    return this.host.machine.processors[0]
  }
  /** Runs a routine from a fresh stack. */
  run(routine: string, budget?: number): Outcome {
    this.ctx.rip = BigInt(addressOf(routine))
    this.ctx.setReg(REG.RSP, BigInt(STACK_TOP))
    return this.go(budget)
  }
  reg(number: number): number {
    return Number(this.ctx.reg(number))
  }
  setReg(number: number, value: number | string): void {
    this.ctx.setReg(number, BigInt(typeof value === 'string' ? addressOf(value) : value))
  }
  word(linear: number): bigint {
    return this.host.machine.mem.u64At(this.memory + linear)
  }
  setWord(linear: number, value: bigint): void {
    this.host.machine.mem.setU64At(this.memory + linear, value)
  }
  u32(linear: number, value: number): void {
    this.host.machine.mem.view.setUint32(this.memory + linear, value, true)
  }
  setByte(linear: number, value: number): void {
    this.host.machine.mem.u8[this.memory + linear] = value
  }

  // ---- CET registers ----
  /** IA32_U_CET or IA32_S_CET, whichever rules the machine's level. */
  get cet(): number {
    return this.cpl === 3 ? this.userCet : this.ctx.ctlLo(CTL.S_CET)
  }
  set cet(value: number) {
    if (this.cpl === 3) this.userCet = value
    else this.ctx.setCtl(CTL.S_CET, value, 0)
  }
  get userCet(): number {
    return this.processor.registerFile32(U_CET)
  }
  set userCet(value: number) {
    this.processor.setRegisterFile32(U_CET, value)
  }
  get shadow(): number {
    return this.cpl === 3 ? USER_SHADOW : SUPERVISOR_SHADOW
  }
  get shadowTop(): number {
    return this.shadow + SHADOW_BYTES
  }
  /** SSP while nothing runs: of bare code at CPL 3 it is in IA32_PL3_SSP. */
  abstract ssp: number
  plSsp(level: number): number {
    return this.processor.registerFile32(PL0_SSP + level * 8)
  }
  setPlSsp(level: number, value: number): void {
    this.processor.setRegisterFile32(PL0_SSP + level * 8, value)
  }

  protected load(): void {
    const { base, bytes } = codeImage()
    this.host.machine.mem.u8.set(bytes, this.memory + base)
    DESCRIPTORS.forEach((upper, i) => {
      this.u32(GDT + 8 + i * 8, 0xffff)
      this.u32(GDT + 12 + i * 8, upper)
    })
    for (let vector = 0; vector < 256; vector++) this.setGate(vector, addressOf('handlers') + vector * 16)
    this.setWord(TSS + 4, BigInt(RSP0))
    this.setWord(TSS + 12, BigInt(RSP1))
    this.setWord(TSS + 0x24, BigInt(IST1))
    const { ctx, cpl } = this
    ctx.setCtl(CTL.GDTR_BASE, GDT, 0)
    ctx.setCtl(CTL.GDTR_LIMIT, 0xfff, 0)
    ctx.setCtl(CTL.IDTR_BASE, IDT, 0)
    ctx.setCtl(CTL.IDTR_LIMIT, 0xfff, 0)
    ctx.setCtl(CTL.TR_BASE, TSS, 0)
    ctx.setCtl(CTL.CR0, 0x80050033 | 0, 0)
    ctx.setCtl(CTL.CR4, 0xc406a0, 0) // CET PKE OSXSAVE OSFXSR PAE PGE, OSXMMEXCPT
    ctx.setCtl(CTL.EFER, 0xd01, 0)
    ctx.setSegment(SEGMENT.CS, cpl === 3 ? CODE_USER : CODE0, cpl === 3 ? 0xa0fb : 0xa09b, 0xffffffff, 0, 0)
    ctx.setSegment(SEGMENT.SS, cpl === 3 ? DATA_USER : DATA0, cpl === 3 ? 0xc0f3 : 0xc093, 0xffffffff, 0, 0)
    this.ssp = this.shadowTop
  }
  /** A 64-bit interrupt gate; DPL 3 for INT. */
  setGate(vector: number, target: number, ist = 0, selector = CODE0): void {
    this.u32(IDT + vector * 16, (selector << 16) | (target & 0xffff))
    this.u32(IDT + vector * 16 + 4, (target & 0xffff0000) | 0xee00 | ist)
  }
}

/** Bare code: at CPL 3 as a host's kernel runs it, or at CPL 0. Exceptions, and SYSCALL at any level, end the run. */
export class BareCet extends CetMachine {
  readonly host: BareHost
  readonly ctx: ExecutionContext
  protected readonly memory = PHYSICAL_BASE

  constructor(cpl: Level, engine: EngineOptions = {}, model = sapphireRapidsModel()) {
    super(cpl)
    this.host = new BareHost({ cpl, engine, model })
    this.ctx = this.host.ctx
    this.host.map(0x10000, 0x10000, 0x30)
    this.host.map(USER_SHADOW, USER_SHADOW, SHADOW_PAGES, { shadow: true })
    this.host.map(SUPERVISOR_SHADOW, SUPERVISOR_SHADOW, SHADOW_PAGES, { shadow: true, user: false })
    this.host.map(SUPERVISOR_PAGE, SUPERVISOR_PAGE, 1, { user: false })
    this.load()
  }
  go(budget = 1_000_000): Outcome {
    const reason = this.host.run(budget)
    const rip = Number(this.ctx.rip)
    if (reason === HOST_EXIT_SYSCALL) return { vector: 'syscall', errorCode: 0, rip }
    if (reason !== HOST_EXIT_EXCEPTION) return { vector: 'budget', errorCode: 0, rip }
    const { vector, errorCode } = this.processor.fault
    return { vector, errorCode, rip }
  }
  get ssp(): number {
    return this.cpl === 3 ? this.processor.registerFile32(PL3_SSP) : this.ctx.ctlLo(CTL.SSP)
  }
  set ssp(value: number) {
    if (this.cpl === 3) this.processor.setRegisterFile32(PL3_SSP, value)
    else this.ctx.setCtl(CTL.SSP, value, 0)
  }
}

/** A guest with a GDT, an IDT whose handlers halt, and a TSS. Exceptions in `exceptionBitmap` (at first all) end the run, as does HLT. */
export class GuestCet extends CetMachine {
  readonly host: BareHost
  readonly ctx: ExecutionContext
  readonly vmcs: Vmcs
  readonly second = new SecondStage()
  static readonly HPA = 0x300000
  protected readonly memory = PHYSICAL_BASE + GuestCet.HPA

  constructor(cpl: Level, engine: EngineOptions = {}) {
    super(cpl)
    this.host = new BareHost({ engine })
    const { machine } = this.host
    const { second } = this
    for (let i = 0; i < 512; i++) second.map(i, (GuestCet.HPA >> 12) + i, EPT_READ | EPT_WRITE | EPT_EXECUTE)
    this.ctx = machine.newContext()
    this.vmcs = new Vmcs(this.ctx, machine.newAddressSpace(second), {
      exceptionBitmap: -1,
      msrReadExits: () => false,
      msrWriteExits: () => false,
      hltExiting: true,
      pauseExiting: false,
      rdtscExiting: false,
      rdpmcExiting: true,
      drExiting: false,
      mwaitExiting: true,
      interruptWindowExiting: false,
      nmiWindowExiting: false,
      cr8Exiting: false,
      busLockExiting: false,
    })
    this.mapAll()
    this.load()
  }
  private mapAll(): void {
    const [pml4, pdpt, directory, table] = [0x100000, 0x101000, 0x102000, 0x103000]
    this.u32(pml4, pdpt | 7)
    this.u32(pdpt, directory | 7)
    this.u32(directory, table | 7)
    const set = (from: number, pages: number, flags: number): void => {
      for (let i = 0; i < pages; i++) this.u32(table + ((from >> 12) + i) * 8, (from + i * 4096) | flags)
    }
    set(0x10000, 0x30, 7)
    set(USER_SHADOW, SHADOW_PAGES, 0x45)
    set(SUPERVISOR_SHADOW, SHADOW_PAGES, 0x41)
    set(SUPERVISOR_PAGE, 1, 3)
    this.ctx.setCtl(CTL.CR3, pml4, 0)
  }
  go(budget = 1_000_000): Outcome {
    const reason = this.processor.enterGuest(this.vmcs, budget)
    const rip = Number(this.ctx.rip)
    if (reason !== EXIT_REASON_EXCEPTION_NMI) return { vector: EXITS.get(reason) ?? `exit ${reason}`, errorCode: 0, rip }
    return { vector: this.vmcs.exitInterruptionInfo & 0xff, errorCode: this.vmcs.exitErrorCode, rip }
  }
  get ssp(): number {
    return this.ctx.ctlLo(CTL.SSP)
  }
  set ssp(value: number) {
    this.ctx.setCtl(CTL.SSP, value, 0)
  }
}
const EXITS = new Map([
  [12, 'hlt'],
  [2, 'triple fault'],
  [28, 'cr'],
  [33, 'invalid state'],
  [48, 'EPT violation'],
  [52, 'budget'],
])

/** Every kind of machine and level: what holds for code holds for all four. */
export const MACHINES: readonly { name: string; make: (engine?: EngineOptions) => CetMachine }[] = [
  { name: 'bare, CPL 3', make: (engine) => new BareCet(3, engine) },
  { name: 'bare, CPL 0', make: (engine) => new BareCet(0, engine) },
  { name: 'guest, CPL 3', make: (engine) => new GuestCet(3, engine) },
  { name: 'guest, CPL 0', make: (engine) => new GuestCet(0, engine) },
]
