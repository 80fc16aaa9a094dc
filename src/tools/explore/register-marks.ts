import { FCW_INIT, MXCSR_INIT, XFEATURE_MASK_XTILE_DATA } from '../../isa/xfeatures.ts'
import type { HostCpu } from '../../linux/processor.ts'
import type { MachineMemory } from '../../machine/machine-memory.ts'
import {
  MXCSR,
  OPMASK,
  PKRU,
  TILECFG,
  TILEDATA,
  TILES_IN_USE,
  VECTOR,
  VECTOR_STRIDE,
  X87_FCW,
  X87_FTW,
  X87_REGISTERS,
  XFD,
  XFD_ERR,
} from '../../machine/memory-map.ts'
import type { Recorder } from './accesses.ts'

/** Bytes of a processor's register file that a mark fills. */
const OPMASK_BYTES = 64
const VECTOR_BYTES = 32 * VECTOR_STRIDE
const TILE_BYTES = 8192
/** Of the 16 bytes kept for an x87 register XSAVE moves ten. */
const X87_STRIDE = 16
const X87_BYTES = 10
const ALL_X87 = 0xff
const MXCSR_FLAGS = 0x3f

/** What a mark makes of PKRU; key 0 stays open, the kernel itself uses it. */
const pkruOf = (mark: number): number => (Math.imul(mark, 0x01010101) & ~3) >>> 0

/**
 * Extended state that belongs to one guest or task, made visible: what it writes carries its mark, and when it runs again its
 * registers must hold the mark it left, in every byte, or nothing of anybody's. All of x87, MXCSR, vector and mask registers, tile
 * data and PKRU.
 */
export class RegisterMarks {
  readonly mark: number
  /** Part of the model's state: what the registers must hold when the owner runs. */
  readonly left: { vector: number; tiles: number; pkru: number | null }
  private readonly recorder: Recorder
  private readonly cells: readonly number[]

  /** @param mark 1 to 255 @param cells the cell of each processor's extended state @param pkru PKRU its owner begins with; null: it has none */
  constructor(mark: number, recorder: Recorder, cells: readonly number[], pkru: number | null) {
    this.mark = mark
    this.recorder = recorder
    this.cells = cells
    this.left = { vector: 0, tiles: 0, pkru }
  }

  /** Its owner runs on `cpu` now. What is wrong goes to `progress.wrong`. Steps that are known are not looked at again. */
  mustHold(cpu: HostCpu, progress: { wrong: string }): void {
    if (!this.recorder.recording) return
    this.recorder.read(this.cells[cpu.id])
    const { mem } = cpu.kernel.machine
    const file = cpu.processor.registerFile
    const wrong = this.wrongRegister(mem, file) ?? this.wrongTile(cpu, mem, file)
    if (wrong !== null) progress.wrong = wrong
  }

  private wrongRegister({ u8, u32 }: MachineMemory, file: number): string | null {
    const { vector, pkru } = this.left
    const inVector = odd(u32, file + VECTOR, VECTOR_BYTES, vector)
    if (inVector >= 0) return found('a vector register', inVector, vector)
    const inMask = odd(u32, file + OPMASK, OPMASK_BYTES, vector)
    if (inMask >= 0) return found('a mask register', inMask, vector)
    for (let i = 0; i < 8; i++) {
      const at = file + X87_REGISTERS + i * X87_STRIDE
      for (let byte = 0; byte < X87_BYTES; byte++)
        if (u8[at + byte] !== vector) return found('an x87 register', u8[at + byte], vector)
    }
    const mxcsr = u32[(file + MXCSR) >> 2]
    if (mxcsr !== mxcsrOf(vector)) return found('MXCSR', mxcsr, mxcsrOf(vector))
    const actual = u32[(file + PKRU) >> 2]
    return pkru === null || actual === pkru ? null : found('PKRU', actual, pkru)
  }

  private wrongTile(cpu: HostCpu, { u32 }: MachineMemory, file: number): string | null {
    if ((cpu.processor.xfd & XFEATURE_MASK_XTILE_DATA) !== 0) return null
    const { tiles } = this.left
    // Tiles that are not in use are zero to whoever looks.
    if (tiles === 0 && u32[(file + TILES_IN_USE) >> 2] === 0) return null
    const tile = odd(u32, file + TILEDATA, TILE_BYTES, tiles)
    return tile < 0 ? null : found('a tile', tile, tiles)
  }

  /** Writes every register but tiles, PKRU among them. */
  writeRegisters(cpu: HostCpu): void {
    fillRegisters(cpu, this.mark, this.recorder, this.cells)
    this.left.vector = this.mark
    if (this.left.pkru === null) return
    this.left.pkru = pkruOf(this.mark)
    cpu.kernel.machine.mem.u32[(cpu.processor.registerFile + PKRU) >> 2] = this.left.pkru
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

/** Instructions that write every vector, mask and x87 register and MXCSR, whoever executes them. */
export function fillRegisters(cpu: HostCpu, mark: number, recorder: Recorder, cells: readonly number[]): void {
  recorder.write(cells[cpu.id])
  const { u8, u16, u32 } = cpu.kernel.machine.mem
  const file = cpu.processor.registerFile
  u8.fill(mark, file + VECTOR, file + VECTOR + VECTOR_BYTES)
  u8.fill(mark, file + OPMASK, file + OPMASK + OPMASK_BYTES)
  for (let i = 0; i < 8; i++) {
    const at = file + X87_REGISTERS + i * X87_STRIDE
    u8.fill(mark, at, at + X87_BYTES)
  }
  u16[(file + X87_FCW) >> 1] = FCW_INIT
  u8[file + X87_FTW] = ALL_X87
  u32[(file + MXCSR) >> 2] = mxcsrOf(mark)
}

const found = (what: string, value: number, expected: number): string =>
  `${what} holds 0x${value.toString(16)}, it left 0x${expected.toString(16)}`

const mxcsrOf = (mark: number): number => MXCSR_INIT | (mark & MXCSR_FLAGS)

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
