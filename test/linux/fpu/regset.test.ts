import { beforeEach, describe, expect, test } from 'vitest'
import { ensureRegistersLoaded } from '../../../src/linux/fpu/door.ts'
import { getFxregs, getXstate, setFxregs } from '../../../src/linux/fpu/regset.ts'
import { handleXfdFault } from '../../../src/linux/fpu/xfd-fault.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import { getRegset, setRegset } from '../../../src/linux/ptrace/regsets.ts'
import { TILECFG, TILEDATA, U_CET, VECTOR } from '../../../src/machine/memory-map.ts'
import { bootHost, CallingProcess, E } from '../host.ts'

const NT_PRFPREG = 2
const NT_X86_XSTATE = 0x202
const PKRU = 2688

/** A tracer, and a stopped task whose registers are in its buffer: XMM0 0x11, YMM0's upper half 0x44, PKRU 0x55555550. */
class Traced {
  readonly kernel = bootHost({ processors: 2, physicalBytes: 32 << 20 })
  readonly tracer = new CallingProcess(this.kernel, 1)
  readonly target = new CallingProcess(this.kernel, 0)
  readonly image: Uint8Array

  constructor(options: { tiles?: boolean } = {}) {
    const { kernel, target } = this
    const cpu = pinnedProcessor(target.task.cpu!)
    const { mem } = kernel.machine
    const file = cpu.processor.registerFile
    if (options.tiles === true) target.call(158, 0x1023, 18)
    ensureRegistersLoaded(cpu)
    if (options.tiles === true) {
      cpu.processor.writeXfdErr(0x40000)
      handleXfdFault(cpu, target.task)
      mem.u8[file + TILECFG] = 1
      mem.u8[file + TILEDATA + 5] = 0x5a
    }
    mem.u8[file + VECTOR] = 0x11
    mem.u8[file + VECTOR + 16] = 0x44
    mem.i32[(file + U_CET) >> 2] = 1
    cpu.processor.setPkru(0x55555550)
    target.leave()
    this.image = this.get()
  }
  get(): Uint8Array {
    const bytes = new Uint8Array(11008)
    getXstate(this.target.task, bytes)
    return bytes
  }
  getRegset(type: number, length: number): number {
    const { scratch, task } = this.tracer
    return getRegset(task, this.target.task, type, scratch + 64, length, scratch)
  }
  setRegset(bytes: Uint8Array, length = bytes.length, type = NT_X86_XSTATE): number {
    const { scratch, task } = this.tracer
    this.tracer.write(scratch + 64, bytes)
    return setRegset(task, this.target.task, type, scratch + 64, length, scratch)
  }
  /** Length that the call stored. */
  get moved(): number {
    return this.tracer.task.mm.getUserLong(this.tracer.scratch)
  }
  edited(edit: (view: DataView) => void): Uint8Array {
    const bytes = this.image.slice()
    edit(new DataView(bytes.buffer))
    return bytes
  }
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer)

let t: Traced
beforeEach(() => {
  t = new Traced()
})

describe('NT_X86_XSTATE of a stopped task', () => {
  test.each([[false], [true]])('is 11008 bytes, with tiles used: %s [PERM-55]', (tiles) => {
    const traced = new Traced({ tiles })
    expect(traced.getRegset(NT_X86_XSTATE, 16384)).toBe(0)
    expect(traced.moved).toBe(11008)
    const view = viewOf(traced.get())
    expect(view.getBigUint64(464, true)).toBe(0x602e7n)
    expect(view.getBigUint64(520, true)).toBe(0n)
    expect([view.getUint8(160), view.getUint8(576), view.getUint32(PKRU, true)]).toEqual([0x11, 0x44, 0x55555550])
    expect(view.getUint8(2816 + 5)).toBe(tiles ? 0x5a : 0)
    expect(view.getUint32(512, true) & 0x60000).toBe(tiles ? 0x60000 : 0)
  })

  test('shows initial components as their initial values, whatever bytes lie in the buffer [PERM-10, PERM-55]', () => {
    const { fpstate } = t.target.task.fpu
    fpstate.xstateBv = 0
    const view = viewOf(t.get())
    expect([view.getUint16(0, true), view.getUint32(24, true), view.getUint32(28, true)]).toEqual([0x37f, 0x1f80, 0xffff])
    expect([view.getUint8(160), view.getUint8(576)]).toEqual([0, 0])
  })

  test('can be read in part, in steps of 8 bytes [PERM-56]', () => {
    expect(t.getRegset(NT_X86_XSTATE, 576)).toBe(0)
    expect(t.moved).toBe(576)
    expect(t.getRegset(NT_X86_XSTATE, 577)).toBe(-E.EINVAL)
  })

  test('is written whole or not at all: shorter is EFAULT, longer is cut [PERM-56]', () => {
    expect(t.setRegset(t.image, 576)).toBe(-E.EFAULT)
    expect(t.setRegset(t.image, 11000)).toBe(-E.EFAULT)
    expect(t.setRegset(t.image, 11004)).toBe(-E.EINVAL)
    expect(t.setRegset(t.image, 11008)).toBe(0)
    expect(t.setRegset(t.image, 11016)).toBe(0)
    expect(t.moved).toBe(11008)
  })

  test.each<[string, (view: DataView) => void]>([
    ['XTILE_DATA for a task that has not grown', (view) => view.setUint32(512, 0x40007, true)],
    ['supervisor bit 11', (view) => view.setUint32(512, 0x807, true)],
    ['bit 8', (view) => view.setUint32(512, 0x107, true)],
    ['bit 63', (view) => view.setUint32(516, 0x80000000, true)],
    ['XCOMP_BV 1', (view) => view.setUint32(520, 1, true)],
    ['XCOMP_BV bit 63', (view) => view.setUint32(524, 0x80000000, true)],
    ['the first reserved byte', (view) => view.setUint8(528, 1)],
    ['the last reserved byte', (view) => view.setUint8(575, 1)],
    ['a reserved MXCSR bit with FP', (view) => view.setUint32(24, 0xffffffff, true)],
  ])('with %s is EINVAL and changes nothing [PERM-56]', (_what, edit) => {
    const bytes = t.edited((view) => {
      view.setUint8(160, 0x99)
      view.setUint32(512, 0x207, true)
      edit(view)
    })
    expect(t.setRegset(bytes)).toBe(-E.EINVAL)
    expect(t.get()).toEqual(t.image)
    expect(t.tracer.task.refusal?.rule).toBe('PERM-56')
  })

  test('takes XTILE_DATA for a task that has grown [PERM-56]', () => {
    const traced = new Traced({ tiles: true })
    const bytes = traced.edited((view) => view.setUint8(2816 + 5, 0x77))
    expect(traced.setRegset(bytes)).toBe(0)
    expect(traced.get()[2816 + 5]).toBe(0x77)
  })

  test('written replaces user components, keeps supervisor ones, and registers left on a processor count no more [PERM-57]', () => {
    const { task } = t.target
    expect(task.fpu.fpstate.xstateBv & 0x800).toBe(0x800)
    const bytes = t.edited((view) => {
      view.setUint32(512, 2, true)
      view.setUint8(160, 0x99)
    })
    expect(t.setRegset(bytes)).toBe(0)
    expect(task.fpu.fpstate.xstateBv).toBe(0x802)
    const cpu = t.kernel.cpus[0]
    t.kernel.scheduler.switchTo(cpu, task)
    ensureRegistersLoaded(pinnedProcessor(cpu!))
    const file = cpu.processor.registerFile
    const { mem } = t.kernel.machine
    expect([mem.u8[file + VECTOR], mem.u8[file + VECTOR + 16], mem.i32[(file + U_CET) >> 2]]).toEqual([0x99, 0, 1])
  })

  test.each<[string, (view: DataView) => void, number]>([
    ['with bit 9', (view) => view.setUint32(PKRU, 0x44444440, true), 0x44444440],
    ['without it', (view) => view.setUint32(512, 3, true), 0],
  ])('PKRU %s: supplied or 0 [PERM-57]', (_what, edit, pkru) => {
    expect(t.setRegset(t.edited(edit))).toBe(0)
    const cpu = t.kernel.cpus[0]
    t.kernel.scheduler.switchTo(cpu, t.target.task)
    expect(cpu.processor.pkru).toBe(pkru)
  })

  test('bytes 464..511 are ignored, and MXCSR too when none of FP, SSE, YMM is given [PERM-71]', () => {
    const bytes = t.edited((view) => {
      for (let at = 464; at < 512; at++) view.setUint8(at, 0xee)
      view.setUint32(512, 0x200, true)
      view.setUint32(24, 0xffffffff, true)
      view.setUint32(28, 0xeeeeeeee, true)
    })
    expect(t.setRegset(bytes)).toBe(0)
    const view = viewOf(t.get())
    expect(view.getBigUint64(464, true)).toBe(0x602e7n)
    expect([view.getUint32(24, true), view.getUint32(28, true)]).toEqual([0x1f80, 0xffff])
  })

  test('MXCSR_MASK is stored unchecked and read back until the registers are saved again [PERM-71]', () => {
    const bytes = t.edited((view) => view.setUint32(28, 0xeeeeeeee, true))
    expect(t.setRegset(bytes)).toBe(0)
    expect(viewOf(t.get()).getUint32(28, true)).toBe(0xeeeeeeee)
    const cpu = t.kernel.cpus[0]
    t.kernel.scheduler.switchTo(cpu, t.target.task)
    ensureRegistersLoaded(pinnedProcessor(cpu!))
    t.target.leave()
    expect(viewOf(t.get()).getUint32(28, true)).toBe(0xffff)
  })
})

describe('NT_PRFPREG', () => {
  test('written sets FP and SSE in XSTATE_BV, and leaves YMM alone [PERM-58]', () => {
    const { task } = t.target
    task.fpu.fpstate.xstateBv = 4
    const bytes = new Uint8Array(512)
    getFxregs(task, bytes)
    bytes[160] = 0x99
    expect(setFxregs(t.tracer.task, task, bytes)).toBe(0)
    expect(task.fpu.fpstate.xstateBv).toBe(7)
    expect([t.get()[160], t.get()[576]]).toEqual([0x99, 0x44])
  })

  test('needs its full size and a valid MXCSR, else EINVAL [PERM-58]', () => {
    const bytes = new Uint8Array(512)
    getFxregs(t.target.task, bytes)
    expect(t.setRegset(bytes, 504, NT_PRFPREG)).toBe(-E.EINVAL)
    expect(t.setRegset(bytes, 512, NT_PRFPREG)).toBe(0)
    viewOf(bytes).setUint32(24, 0x11f80, true)
    expect(t.setRegset(bytes, 512, NT_PRFPREG)).toBe(-E.EINVAL)
  })
})
