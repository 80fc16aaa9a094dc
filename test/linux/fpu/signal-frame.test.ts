import { beforeEach, describe, expect, test } from 'vitest'
import { ensureRegistersLoaded } from '../../../src/linux/fpu/door.ts'
import { clearUserStates } from '../../../src/linux/fpu/lifecycle.ts'
import { disownRegisters, noteXfd } from '../../../src/linux/fpu/register-owner.ts'
import { allocateFrame, restoreFromFrame, saveToFrame } from '../../../src/linux/fpu/signal-frame.ts'
import { handleXfdFault } from '../../../src/linux/fpu/xfd-fault.ts'
import { type PinnedProcessor, pinnedProcessor } from '../../../src/linux/processor.ts'
import { BNDREGS, OPMASK, TILECFG, TILEDATA, U_CET, VECTOR, X87_FCW } from '../../../src/machine/memory-map.ts'
import { bootHost, CallingProcess } from '../host.ts'

/** A process whose signal frames are written and read back by the test; PKRU 0x55555550 to tell it from default and 0. */
class Frames {
  readonly kernel
  readonly process
  readonly cpu: PinnedProcessor
  /** 64-byte aligned. */
  readonly at: number

  constructor(options: { cpu?: string; profile?: string; tiles?: boolean } = {}) {
    this.kernel = bootHost({ processors: 1, physicalBytes: 32 << 20, ...options })
    this.process = new CallingProcess(this.kernel)
    this.cpu = pinnedProcessor(this.task.cpu!)
    this.at = this.process.scratch + 0x1000
    ensureRegistersLoaded(this.cpu)
    this.cpu.processor.setPkru(0x55555550)
    this.mem.u16[this.register(X87_FCW) >> 1] = 0x37e
    this.mem.u8[this.register(VECTOR) + 16] = 0x44 // upper half of YMM0
    if (options.tiles === true) this.useTiles()
  }

  get task() {
    return this.process.task
  }
  get mem() {
    return this.kernel.machine.mem
  }
  register(offset: number): number {
    return this.cpu.processor.registerFile + offset
  }
  useTiles(): void {
    this.process.call(158, 0x1023, 18)
    this.cpu.processor.writeXfdErr(0x40000)
    handleXfdFault(this.cpu, this.task)
    this.mem.u8[this.register(TILECFG)] = 1
    this.mem.u8[this.register(TILEDATA)] = 0xaa
    this.mem.u8[this.register(TILEDATA) + 5] = 0x5a
  }
  /** The frame as the handler sees it. */
  save(): DataView {
    expect(saveToFrame(this.task, this.at)).toBe(true)
    return new DataView(this.process.bytes(this.at, 12000).buffer)
  }
  /** A frame changed by `edit`, returned from with all registers cleared as a handler has them. */
  roundTrip(edit: (view: DataView) => void = () => {}): boolean {
    const view = this.save()
    edit(view)
    this.process.write(this.at, new Uint8Array(view.buffer))
    clearUserStates(this.cpu, this.task)
    // What the handler left in the registers must not survive the return, be it a good one or not.
    this.mem.u16[this.register(X87_FCW) >> 1] = 0x27f
    this.mem.u8[this.register(VECTOR) + 16] = 0x99
    this.cpu.processor.setPkru(0x11111110)
    return restoreFromFrame(this.task, this.at)
  }
  get fcw(): number {
    return this.mem.u16[this.register(X87_FCW) >> 1]
  }
  get ymm(): number {
    return this.mem.u8[this.register(VECTOR) + 16]
  }
  get tile(): number {
    return this.mem.u8[this.register(TILEDATA) + 5]
  }
  get pkru(): number {
    return this.cpu.processor.pkru
  }
}

const bv = (view: DataView, bits: bigint) => view.setBigUint64(512, view.getBigUint64(512, true) | bits, true)
const PKRU = 2688
const MAGIC1 = 0x46505853
const MAGIC2 = 0x46505845

let f: Frames
beforeEach(() => {
  f = new Frames()
})

describe('the state on a signal frame', () => {
  test.each([
    ['never used AMX', false, 2816, 0x202e7],
    ['has used AMX', true, 11008, 0x602e7],
  ])('of a thread that %s: software bytes and magic2 [PERM-46]', (_what, tiles, size, features) => {
    if (tiles) f.useTiles()
    const view = f.save()
    expect(view.getUint32(464, true)).toBe(MAGIC1)
    expect(view.getUint32(468, true)).toBe(size + 4)
    expect(view.getBigUint64(472, true)).toBe(BigInt(features))
    expect(view.getUint32(480, true)).toBe(size)
    for (let at = 484; at < 512; at++) expect(view.getUint8(at)).toBe(0)
    expect(view.getUint32(size, true)).toBe(MAGIC2)
  })

  test('is 64-byte aligned, with room for the image of the thread and magic2 [PERM-45]', () => {
    for (const sp of [0x7fff0000, 0x7ffeffff, 0x7ffefff0]) {
      const at = allocateFrame(f.task, sp)
      expect(at % 64).toBe(0)
      expect(sp - at).toBeGreaterThanOrEqual(2820)
      expect(sp - at).toBeLessThan(2820 + 64)
    }
    f.useTiles()
    expect(0x7fff0000 - allocateFrame(f.task, 0x7fff0000)).toBe(11072)
  })

  test('is the standard form: YMM at 576, header zeroed before the save, FP and SSE set after it [PERM-45, PERM-47]', () => {
    f.process.write(f.at, new Uint8Array(12000).fill(0xee))
    f.mem.u16[f.register(X87_FCW) >> 1] = 0x37f // x87 is initial: XSAVE alone would leave bit 0 clear
    const view = f.save()
    expect(view.getUint8(576)).toBe(0x44)
    expect(view.getBigUint64(512, true) & 7n).toBe(7n)
    for (let at = 520; at < 576; at++) expect(view.getUint8(at), `byte ${at}`).toBe(0)
  })

  test('carries the interrupted PKRU with its bit from 6.12 on, even one that is initial [PERM-47]', () => {
    const view = f.save()
    expect([view.getUint32(512, true) & 0x200, view.getUint32(PKRU, true)]).toEqual([0x200, 0x55555550])
    f.cpu.processor.setPkru(0)
    const open = f.save()
    expect([open.getUint32(512, true) & 0x200, open.getUint32(PKRU, true)]).toEqual([0x200, 0])
    const before = new Frames({ profile: 'linux-6.6' })
    before.cpu.processor.setPkru(0)
    expect(before.save().getUint32(512, true) & 0x200).toBe(0)
  })

  test('has tiles only while in use; its size follows the buffer all the same [PERM-48]', () => {
    f.useTiles()
    const used = f.save()
    expect([used.getUint32(512, true) & 0x60000, used.getUint8(2816 + 5)]).toEqual([0x60000, 0x5a])
    clearUserStates(f.cpu, f.task)
    f.process.write(f.at + 2752, new Uint8Array(8256).fill(0xee))
    const unused = f.save()
    expect(unused.getUint32(512, true) & 0x60000).toBe(0)
    expect(unused.getUint32(480, true)).toBe(11008)
    // Not written at all: the bytes are what lay there.
    expect([unused.getUint8(2752), unused.getUint8(2816 + 5)]).toEqual([0xee, 0xee])
  })

  test('without a dynamic component every user component is written, used or not [PERM-48]', () => {
    const plain = new Frames({ cpu: 'Skylake-Server,+mpx' })
    plain.mem.u8[plain.register(BNDREGS)] = 0
    plain.process.write(plain.at, new Uint8Array(12000).fill(0xee))
    const view = plain.save()
    for (const at of [576, 960, 1024, 1088, 1152, 1664, 2688]) expect(view.getUint8(at + 7), `byte ${at + 7}`).toBe(0)
  })
})

describe('a handler', () => {
  test('starts with every user component initial and PKRU at its default [PERM-49]', () => {
    f.useTiles()
    f.mem.u8[f.register(OPMASK)] = 1
    clearUserStates(f.cpu, f.task)
    expect([f.fcw, f.ymm, f.tile, f.mem.u8[f.register(OPMASK)], f.mem.u8[f.register(TILECFG)]]).toEqual([0x37f, 0, 0, 0, 0])
    expect(f.pkru).toBe(0x55555554)
    expect(f.task.fpu.fpstate.size).toBe(10752)
  })

  test('keeps supervisor components, loaded or not [PERM-49]', () => {
    const cet = f.register(U_CET)
    f.mem.i32[cet >> 2] = 1
    clearUserStates(f.cpu, f.task)
    expect(f.mem.i32[cet >> 2]).toBe(1)
    // Preempted before: the state is in the buffer only.
    f.kernel.scheduler.leave(f.kernel.cpus[0], f.task)
    f.mem.i32[cet >> 2] = 0
    f.kernel.scheduler.switchTo(f.kernel.cpus[0], f.task)
    disownRegisters(f.cpu)
    clearUserStates(f.cpu, f.task)
    expect(f.mem.i32[cet >> 2]).toBe(1)
  })
})

describe('the return', () => {
  test('brings everything back [PERM-52, PERM-70]', () => {
    f.useTiles()
    expect(f.roundTrip()).toBe(true)
    expect([f.fcw, f.ymm, f.tile, f.pkru]).toEqual([0x37e, 0x44, 0x5a, 0x55555550])
  })

  test('without an fpstate pointer resets the user state and succeeds [PERM-50]', () => {
    expect(restoreFromFrame(f.task, 0)).toBe(true)
    expect([f.fcw, f.ymm, f.pkru]).toEqual([0x37f, 0, 0x55555554])
  })

  test('from memory that cannot be read fails [PERM-50]', () => {
    expect(restoreFromFrame(f.task, 0x10000)).toBe(false)
    expect(restoreFromFrame(f.task, 0xffff800000000000)).toBe(false)
  })

  test.each<[string, (view: DataView) => void]>([
    ['magic1', (view) => view.setUint32(464, 0, true)],
    ['magic2', (view) => view.setUint32(2816, 0, true)],
    ['an image size below 576', (view) => view.setUint32(480, 568, true)],
    ["an image size above the thread's", (view) => view.setUint32(480, 2824, true)],
    ['an image size above the extended size', (view) => view.setUint32(468, 2815, true)],
  ])('with a wrong %s loads FP and SSE, resets the rest, PKRU to 0, and succeeds [PERM-51, PERM-70]', (_what, edit) => {
    expect(f.roundTrip(edit)).toBe(true)
    expect([f.fcw, f.ymm, f.pkru]).toEqual([0x37e, 0, 0])
  })

  test.each<[string, (view: DataView) => void]>([
    ['bit 8 of XSTATE_BV', (view) => bv(view, 1n << 8n)],
    ['bit 11 of XSTATE_BV', (view) => bv(view, 1n << 11n)],
    ['bit 63 of XSTATE_BV', (view) => bv(view, 1n << 63n)],
    ['XCOMP_BV 1', (view) => view.setBigUint64(520, 1n, true)],
    ['XCOMP_BV bit 63', (view) => view.setBigUint64(520, 1n << 63n, true)],
    ['a reserved bit of MXCSR', (view) => view.setUint32(24, 0xffffffff, true)],
  ])('with %s fails, the user state reset and PKRU at its default [PERM-52, PERM-54]', (_what, edit) => {
    expect(f.roundTrip(edit)).toBe(false)
    expect([f.fcw, f.ymm, f.pkru]).toEqual([0x37f, 0, 0x55555554])
  })

  test.each([
    ['18 without AMX', 'Skylake-Server', 18n],
    ['9 without PKU', 'Skylake-Server,-pku', 9n],
  ])('with bit %s fails [PERM-52]', (_what, cpu, bit) => {
    const other = new Frames({ cpu })
    expect(other.roundTrip((view) => bv(view, 1n << bit))).toBe(false)
    expect(other.fcw).toBe(0x37f)
  })

  test('resets user components that the software bytes leave out [PERM-52, PERM-70]', () => {
    expect(f.roundTrip((view) => view.setBigUint64(472, 3n, true))).toBe(true)
    expect([f.fcw, f.ymm, f.pkru]).toEqual([0x37e, 0, 0])
  })

  test('from a compacted image with its bits in XCOMP_BV succeeds: only the processor looks [PERM-52]', () => {
    const compacted = (view: DataView) => {
      view.setBigUint64(512, 7n, true)
      view.setBigUint64(520, (1n << 63n) | 7n, true)
    }
    expect(f.roundTrip(compacted)).toBe(true)
    expect([f.fcw, f.ymm]).toEqual([0x37e, 0x44])
  })

  test.each([
    [520, false],
    [527, false],
    [528, false],
    [535, false],
    [536, true],
    [575, true],
  ])('with a 1 in header byte %i: %s [PERM-68]', (byte, succeeds) => {
    expect(f.roundTrip((view) => view.setUint8(byte, 1))).toBe(succeeds)
    expect(f.ymm).toBe(succeeds ? 0x44 : 0)
  })

  test.each<[string, (view: DataView) => void]>([
    ['XSTATE_BV has bit 18', (view) => bv(view, 1n << 18n)],
    ['the software bytes have bits 17 and 18', (view) => view.setBigUint64(472, 0x602e7n, true)],
    [
      'both have them',
      (view) => {
        bv(view, 3n << 17n)
        view.setBigUint64(472, 0x602e7n, true)
        view.setUint8(2816 + 5, 0x5a)
      },
    ],
  ])('to a thread without room for tiles succeeds without tile data where %s [PERM-69]', (_what, edit) => {
    expect(f.roundTrip(edit)).toBe(true)
    expect([f.fcw, f.ymm, f.tile, f.cpu.processor.xfd]).toEqual([0x37e, 0x44, 0, 0x40000])
    // The same where XFD is not armed.
    f.cpu.processor.wrmsrXfd(0)
    noteXfd(f.cpu, 0)
    expect(f.roundTrip(edit)).toBe(true)
    expect(f.tile).toBe(0)
  })

  test.each<[string, (view: DataView) => void, number]>([
    ['in mask and XSTATE_BV', (view) => view.setUint32(PKRU, 0x1234, true), 0x1234],
    ['not in XSTATE_BV', (view) => view.setBigUint64(512, view.getBigUint64(512, true) & ~0x200n, true), 0],
    ['not in the software bytes', (view) => view.setBigUint64(472, 0x200e7n, true), 0],
  ])('leaves PKRU as the slot or 0: %s [PERM-70]', (_what, edit, pkru) => {
    expect(f.roundTrip(edit)).toBe(true)
    expect(f.pkru).toBe(pkru)
  })
})
