import type { EngineOptions } from '../../../src/machine/code-cache.ts'
import { HOST_EXIT_BUDGET, HOST_EXIT_EXCEPTION } from '../../../src/machine/exits.ts'
import {
  MXCSR,
  OPMASK,
  PHYSICAL_BASE,
  SEGMENT,
  VECTOR,
  X87_FCW,
  X87_FDP,
  X87_FIP,
  X87_FOP,
  X87_FSW,
  X87_FTW,
  X87_REGISTERS,
} from '../../../src/machine/memory-map.ts'
import { BareHost } from '../bare-host.ts'
import { type CaseRecord, CODE, CODE_OFFSET, GS_BASE, WINDOW } from './record-layout.ts'

const WINDOW_PHYSICAL = [0x40000, 0x48000, 0x46000]
const CODE_PHYSICAL = 0x50000
const INT3 = 0xcc
const FSW_ES = 0x80
const UD2 = [0x0f, 0x0b]

/** Instructions a case may retire; string instructions count once. */
const BUDGET = 10_000

/** Runs cases on the engine in the address space the recorder gives them. */
export class EngineRunner {
  private readonly host: BareHost
  private loaded = ''

  constructor(engine: EngineOptions = {}) {
    this.host = new BareHost({ engine })
    const { host } = this
    // The second page lies elsewhere, so that what crosses the boundary is not contiguous.
    host.map(WINDOW, WINDOW_PHYSICAL[0], 1)
    host.map(WINDOW + 4096, WINDOW_PHYSICAL[1], 1)
    host.map(WINDOW + 8192, WINDOW_PHYSICAL[2], 1, { write: false })
    host.map(CODE, CODE_PHYSICAL, 1, { write: false })
    // What is recorded is an AMD processor's; all that the engine has is tried, whatever this model's CPUID says.
    host.machine.code.compiler.site.isAvailable = () => true
    for (const segment of [SEGMENT.DS, SEGMENT.ES]) host.ctx.setSegment(segment, 0x2b, 0xc0f3, 0xffffffff, 0, 0)
    host.ctx.setSegmentBase(SEGMENT.GS, GS_BASE, 0)
  }

  /** Runs one case; `before` is not changed. */
  run(before: CaseRecord): CaseRecord {
    this.load(before)
    const { host } = this
    const reason = host.run(BUDGET)
    const after = before.copy()
    if (reason === HOST_EXIT_BUDGET) throw new Error('the case does not end')
    if (reason !== HOST_EXIT_EXCEPTION) throw new Error(`the case left the engine with ${reason}`)
    this.store(after)
    return after
  }

  /** Why the engine called an instruction undefined, for reports. */
  get unsupported(): string {
    return JSON.stringify(this.host.machine.unsupported)
  }

  private load(before: CaseRecord): void {
    const { host } = this
    const { ctx } = host
    const key = `${before.mode} ${before.code.join()}`
    if (key !== this.loaded) {
      const page = new Uint8Array(4096).fill(INT3)
      page.set(before.code, CODE_OFFSET)
      // Ends the region after the first INT3: the recorder's page of them would be compiled too.
      page.set(UD2, CODE_OFFSET + before.code.length + 1)
      host.write(CODE_PHYSICAL, page)
      this.loaded = key
    }
    WINDOW_PHYSICAL.forEach((page, i) => {
      host.write(page, before.memory.subarray(i * 4096, i * 4096 + 4096))
    })
    for (let n = 0; n < 16; n++) ctx.setReg(n, before.gpr(n))
    ctx.rip = BigInt(CODE + CODE_OFFSET)
    ctx.rflags = before.rflags
    ctx.setSegment(SEGMENT.CS, before.mode === 32 ? 0x23 : 0x33, before.mode === 32 ? 0xc0fb : 0xa0fb, 0xffffffff, 0, 0)
    this.loadRegisterFile(before)
  }

  private loadRegisterFile(before: CaseRecord): void {
    const processor = this.host.machine.processors[0]
    const { mem } = this.host.machine
    const file = processor.registerFile
    for (let n = 0; n < 32; n++) mem.u8.set(before.zmm(n), file + VECTOR + n * 64)
    for (let k = 0; k < 8; k++) mem.setU64At(file + OPMASK + k * 8, before.opmask(k))
    processor.setMxcsr(before.mxcsr)
    const x87 = before.x87
    const view = new DataView(x87.buffer, x87.byteOffset)
    mem.view.setUint16(file + X87_FCW, view.getUint16(0, true), true)
    mem.view.setUint16(file + X87_FSW, view.getUint16(2, true), true)
    mem.u8[file + X87_FTW] = x87[4]
    mem.view.setUint16(file + X87_FOP, view.getUint16(6, true), true)
    mem.setU64At(file + X87_FIP, view.getBigUint64(8, true))
    mem.setU64At(file + X87_FDP, view.getBigUint64(16, true))
    const top = (view.getUint16(2, true) >> 11) & 7
    for (let i = 0; i < 8; i++) mem.u8.set(x87.subarray(32 + i * 16, 42 + i * 16), file + X87_REGISTERS + ((top + i) & 7) * 16)
  }

  private store(after: CaseRecord): void {
    const { host } = this
    const { mem } = host.machine
    const processor = host.machine.processors[0]
    const file = processor.registerFile
    after.vector = processor.fault.vector
    after.error = processor.fault.hasErrorCode ? processor.fault.errorCode : 0
    after.faultAddress =
      after.vector === 14 ? (BigInt(processor.fault.addressHi >>> 0) << 32n) | BigInt(processor.fault.addressLo >>> 0) : 0n
    after.rip = host.ctx.rip
    after.rflags = host.ctx.rflags
    for (let n = 0; n < 16; n++) after.setGpr(n, host.ctx.reg(n))
    WINDOW_PHYSICAL.forEach((page, i) => {
      after.memory.set(mem.u8.subarray(PHYSICAL_BASE + page, PHYSICAL_BASE + page + 4096), i * 4096)
    })
    for (let n = 0; n < 32; n++) after.zmm(n).set(mem.u8.subarray(file + VECTOR + n * 64, file + VECTOR + n * 64 + 64))
    for (let k = 0; k < 8; k++) after.setOpmask(k, mem.u64At(file + OPMASK + k * 8))
    after.mxcsr = processor.registerFile32(MXCSR) >>> 0
    this.storeX87(after, file)
  }

  private storeX87(after: CaseRecord, file: number): void {
    const { mem } = this.host.machine
    const x87 = after.x87
    const view = new DataView(x87.buffer, x87.byteOffset)
    x87.fill(0)
    view.setUint16(0, mem.view.getUint16(file + X87_FCW, true), true)
    view.setUint16(2, mem.view.getUint16(file + X87_FSW, true), true)
    x87[4] = mem.u8[file + X87_FTW]
    // The recorded processors (AMD) save the last opcode and pointers only while an exception is pending.
    if (view.getUint16(2, true) & FSW_ES) {
      view.setUint16(6, mem.view.getUint16(file + X87_FOP, true), true)
      view.setBigUint64(8, mem.u64At(file + X87_FIP), true)
      view.setBigUint64(16, mem.u64At(file + X87_FDP), true)
    }
    const top = (view.getUint16(2, true) >> 11) & 7
    for (let i = 0; i < 8; i++) {
      const at = file + X87_REGISTERS + ((top + i) & 7) * 16
      x87.set(mem.u8.subarray(at, at + 10), 32 + i * 16)
    }
  }
}
