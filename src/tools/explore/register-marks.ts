import { XFEATURE_MASK_XTILE_DATA } from '../../isa/xfeatures.ts'
import type { HostCpu } from '../../linux/processor.ts'
import { TILECFG, TILEDATA, TILES_IN_USE, VECTOR, VECTOR_STRIDE, XFD, XFD_ERR } from '../../machine/memory-map.ts'
import type { Recorder } from './accesses.ts'

/** A mark fills one vector register; tiles get it in every byte. */
const MARKED = VECTOR_STRIDE
const TILE_BYTES = 8192

/**
 * Extended state that belongs to one guest or task, made visible: what it writes carries its mark, and when it runs again its
 * registers must hold the mark it left, in every byte, or nothing of anybody's.
 */
export class RegisterMarks {
  readonly mark: number
  /** Part of the model's state: what the registers must hold when the owner runs. */
  readonly left = { vector: 0, tiles: 0 }
  private readonly recorder: Recorder
  private readonly cells: readonly number[]

  /** @param mark 1 to 255 @param cells the cell of each processor's extended state */
  constructor(mark: number, recorder: Recorder, cells: readonly number[]) {
    this.mark = mark
    this.recorder = recorder
    this.cells = cells
  }

  /** Its owner runs on `cpu` now. What is wrong goes to `progress.wrong`. */
  mustHold(cpu: HostCpu, progress: { wrong: string }): void {
    this.recorder.read(this.cells[cpu.id])
    const { u32 } = cpu.kernel.machine.mem
    const file = cpu.processor.registerFile
    const vector = odd(u32, file + VECTOR, MARKED, this.left.vector)
    if (vector >= 0)
      progress.wrong = `a vector register holds 0x${vector.toString(16)}, it left 0x${this.left.vector.toString(16)}`
    if ((cpu.processor.xfd & XFEATURE_MASK_XTILE_DATA) !== 0) return
    // Tiles that are not in use are zero to whoever looks.
    if (this.left.tiles === 0 && u32[(file + TILES_IN_USE) >> 2] === 0) return
    const tile = odd(u32, file + TILEDATA, TILE_BYTES, this.left.tiles)
    if (tile >= 0) progress.wrong = `a tile holds 0x${tile.toString(16)}, it left 0x${this.left.tiles.toString(16)}`
  }

  writeVector(cpu: HostCpu): void {
    this.recorder.write(this.cells[cpu.id])
    const at = cpu.processor.registerFile + VECTOR
    cpu.kernel.machine.mem.u8.fill(this.mark, at, at + MARKED)
    this.left.vector = this.mark
  }

  writeTiles(cpu: HostCpu): void {
    this.recorder.write(this.cells[cpu.id])
    const { u8, u32 } = cpu.kernel.machine.mem
    const file = cpu.processor.registerFile
    u8.fill(this.mark, file + TILEDATA, file + TILEDATA + TILE_BYTES)
    u32[(file + TILES_IN_USE) >> 2] = 0xff
    u8[file + TILECFG] = 1
    this.left.tiles = this.mark
  }

  /** The guest's WRMSR of IA32_XFD where it does not exit. */
  setXfd(cpu: HostCpu, value: number): void {
    this.recorder.write(this.cells[cpu.id])
    cpu.kernel.machine.mem.u32[(cpu.processor.registerFile + XFD) >> 2] = value
  }
  /** What the processor does when it raises #NM for XFD. */
  raiseXfdErr(cpu: HostCpu): void {
    this.recorder.write(this.cells[cpu.id])
    cpu.kernel.machine.mem.u32[(cpu.processor.registerFile + XFD_ERR) >> 2] |= XFEATURE_MASK_XTILE_DATA
  }
}

/** A byte of [at, at + length) that is not `wanted`, or -1. Both are multiples of 4. */
function odd(u32: Uint32Array, at: number, length: number, wanted: number): number {
  const word = Math.imul(wanted, 0x01010101) >>> 0
  const end = (at + length) >> 2
  for (let i = at >> 2; i < end; i++) if (u32[i] !== word) return oddByte(u32[i], wanted)
  return -1
}

function oddByte(word: number, wanted: number): number {
  for (let shift = 0; shift < 24; shift += 8) if (((word >>> shift) & 0xff) !== wanted) return (word >>> shift) & 0xff
  return word >>> 24
}
