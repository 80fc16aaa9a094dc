import { describe, expect, it } from 'vitest'
import { CTL } from '../../src/machine/execution-context.ts'
import {
  EXIT_REASON_CPUID,
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_HLT,
  EXIT_REASON_IO_INSTRUCTION,
  EXIT_REASON_PREEMPTION_TIMER,
  EXIT_REASON_TRIPLE_FAULT,
} from '../../src/machine/exits.ts'
import { PHYSICAL_BASE, SEGMENT } from '../../src/machine/memory-map.ts'
import { EPT_EXECUTE, EPT_READ, EPT_WRITE, SecondStage } from '../../src/machine/second-stage.ts'
import { EMULATE_DONE, EMULATE_NEEDS_DATA, Vmcs } from '../../src/machine/vmcs.ts'
import { BareHost } from './bare-host.ts'

/** A 64-bit CPL 0 guest: 2 MiB pages identity-map guest-physical 0..1 GiB; guest memory is host page 0x300 onward. */
class BareGuest {
  readonly host = new BareHost()
  readonly second = new SecondStage()
  readonly vmcs: Vmcs
  static readonly HPA = 0x300000

  constructor(code: readonly number[], pages = 64) {
    const { machine } = this.host
    for (let i = 0; i < pages; i++) this.second.map(i, (BareGuest.HPA >> 12) + i, EPT_READ | EPT_WRITE | EPT_EXECUTE)
    const ctx = machine.newContext()
    this.vmcs = new Vmcs(ctx, machine.newAddressSpace(this.second), {
      exceptionBitmap: 0,
      msrReadExits: () => true,
      msrWriteExits: () => true,
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
    this.u32(0x1000, 0x2007)
    this.u32(0x2000, 0x3007)
    for (let i = 0; i < 512; i++) this.u32(0x3000 + i * 8, (i << 21) | 0x87)
    ctx.setCtl(CTL.CR3, 0x1000, 0)
    ctx.setCtl(CTL.CR0, 0x80010033 | 0, 0)
    ctx.setCtl(CTL.CR4, 0x20, 0)
    ctx.setCtl(CTL.EFER, 0xd00, 0)
    ctx.setSegment(SEGMENT.CS, 8, 0xa09b, 0xffffffff, 0, 0)
    ctx.setSegment(SEGMENT.SS, 0x10, 0xc093, 0xffffffff, 0, 0)
    ctx.rip = 0x10000n
    ctx.setReg(4, 0x20000n)
    this.bytes(0x10000, code)
  }
  u32(gpa: number, value: number): void {
    this.host.machine.mem.view.setUint32(PHYSICAL_BASE + BareGuest.HPA + gpa, value, true)
  }
  bytes(gpa: number, bytes: readonly number[]): void {
    this.host.machine.mem.u8.set(bytes, PHYSICAL_BASE + BareGuest.HPA + gpa)
  }
  enter(budget = 100_000): number {
    return this.host.machine.processors[0].enterGuest(this.vmcs, budget)
  }
}

describe('guest mode', () => {
  it('port output exits at the instruction, and the guest goes on when RIP is advanced', () => {
    const g = new BareGuest([0xb0, 0x41, 0xe6, 0x80, 0xb0, 0x42, 0xe6, 0x81, 0xf4])
    expect(g.enter()).toBe(EXIT_REASON_IO_INSTRUCTION)
    expect(g.vmcs).toMatchObject({ ioPort: 0x80, ioSize: 1, ioIn: false, ioString: false, exitInstructionLength: 2 })
    expect(g.vmcs.context.rip).toBe(0x10002n)
    g.vmcs.context.advanceRip(2)
    expect(g.enter()).toBe(EXIT_REASON_IO_INSTRUCTION)
    expect(g.vmcs.ioPort).toBe(0x81)
    g.vmcs.context.advanceRip(2)
    expect(g.enter()).toBe(EXIT_REASON_HLT)
  })

  it('CPUID always exits', () => {
    const g = new BareGuest([0x0f, 0xa2])
    expect(g.enter()).toBe(EXIT_REASON_CPUID)
  })

  it('an access outside guest memory is an EPT violation with the guest-physical address, and emulation supplies the data', () => {
    // mov eax, [0x3f000123] ; hlt
    const g = new BareGuest([0x8b, 0x04, 0x25, 0x23, 0x01, 0x00, 0x3f, 0xf4])
    expect(g.enter()).toBe(EXIT_REASON_EPT_VIOLATION)
    expect(g.vmcs).toMatchObject({ exitGpa: 0x3f000123, exitAccess: 1 })
    const p = g.host.machine.processors[0]
    expect(p.emulateInstruction(g.vmcs, { read: () => false, write: () => {} })).toBe(EMULATE_NEEDS_DATA)
    expect(g.vmcs.context.rip).toBe(0x10000n)
    const read = (gpa: number, size: number, dest: number) => {
      expect([gpa, size]).toEqual([0x3f000123, 4])
      g.host.machine.mem.view.setUint32(dest, 0xdeadbeef, true)
      return true
    }
    expect(p.emulateInstruction(g.vmcs, { read, write: () => {} })).toBe(EMULATE_DONE)
    expect(g.vmcs.context.reg(0)).toBe(0xdeadbeefn)
    expect(g.enter()).toBe(EXIT_REASON_HLT)
  })

  it('a page fault is delivered through the guest IDT with its error code, address and an aligned frame', () => {
    // mov [0x40000000], eax (not mapped: beyond the 1 GiB)
    const g = new BareGuest([0x89, 0x04, 0x25, 0x00, 0x00, 0x00, 0x40, 0x90])
    g.bytes(0x11000, [0xf4])
    // GDT at 0x5000: null, code; IDT at 0x6000
    g.u32(0x5008, 0xffff)
    g.u32(0x500c, 0xaf9b00)
    g.u32(0x6000 + 14 * 16, (8 << 16) | 0x1000)
    g.u32(0x6004 + 14 * 16, 0x00018e00)
    const { context } = g.vmcs
    context.setCtl(CTL.GDTR_BASE, 0x5000, 0)
    context.setCtl(CTL.GDTR_LIMIT, 0xfff, 0)
    context.setCtl(CTL.IDTR_BASE, 0x6000, 0)
    context.setCtl(CTL.IDTR_LIMIT, 0xfff, 0)
    expect(g.enter()).toBe(EXIT_REASON_HLT)
    expect(context.rip).toBe(0x11000n)
    expect(context.ctl(CTL.CR2)).toBe(0x40000000n)
    expect(context.reg(4)).toBe(0x20000n - 48n)
    const frame = new DataView(g.host.machine.mem.buffer, PHYSICAL_BASE + BareGuest.HPA + 0x20000 - 48)
    expect(frame.getUint32(0, true)).toBe(2)
    expect(frame.getUint32(8, true)).toBe(0x10000)
    expect(frame.getUint32(16, true)).toBe(8)
  })

  it('an intercepted exception exits instead; without an IDT an exception is a triple fault', () => {
    const g = new BareGuest([0x0f, 0x0b])
    g.vmcs.controls.exceptionBitmap = 1 << 6
    expect(g.enter()).toBe(EXIT_REASON_EXCEPTION_NMI)
    expect(g.vmcs.exitInterruptionInfo & 0xff).toBe(6)
    g.vmcs.controls.exceptionBitmap = 0
    expect(g.enter()).toBe(EXIT_REASON_TRIPLE_FAULT)
  })

  it('a guest that loops for ever ends with its budget', () => {
    const g = new BareGuest([0xeb, 0xfe])
    expect(g.enter(12_345)).toBe(EXIT_REASON_PREEMPTION_TIMER)
    expect(g.host.machine.processors[0].retired).toBe(12_345)
  })
})
