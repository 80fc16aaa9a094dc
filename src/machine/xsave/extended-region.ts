import {
  XFEATURE_APX,
  XFEATURE_BNDCSR,
  XFEATURE_BNDREGS,
  XFEATURE_Hi16_ZMM,
  XFEATURE_OPMASK,
  XFEATURE_PKRU,
  XFEATURE_SYNTHETIC,
  XFEATURE_XTILE_CFG,
  XFEATURE_XTILE_DATA,
  XFEATURE_YMM,
  XFEATURE_ZMM_Hi256,
} from '../../isa/xfeatures.ts'
import { copyTileConfiguration, tileConfigurationError } from '../amx/tile-config.ts'
import type { MachineMemory } from '../machine-memory.ts'
import {
  BNDCSR,
  BNDREGS,
  EGPR,
  OPMASK,
  PKRU,
  SYNTHETIC,
  TILECFG,
  TILEDATA,
  TILES_IN_USE,
  VECTOR,
  VECTOR_STRIDE,
} from '../memory-map.ts'
import type { XsaveBehaviour } from './behaviour.ts'
import { MODE_LONG } from './forms.ts'
import type { RowCopy } from './row-copy.ts'

/** Supervisor state components live in MSRs; whoever holds those MSRs moves them. Offsets are wasm byte offsets. */
export interface SupervisorState {
  /** Whether all MSRs of component `nr` hold their initial value, 0. */
  isInit(nr: number): boolean
  /** Writes the component, all of its `size` bytes, to `destination`. */
  read(nr: number, destination: number): void
  /** False if the MSRs would refuse the component's values: XRSTORS then faults with #GP, and nothing is written. */
  accepts(nr: number, source: number): boolean
  write(nr: number, source: number): void
  init(nr: number): void
}

/** A processor without supervisor state. */
export const NO_SUPERVISOR_STATE: SupervisorState = {
  isInit: () => true,
  read: () => {},
  accepts: () => true,
  write: () => {},
  init: () => {},
}

/**
 * Where a component that is plain rows of bytes lies in the register file: `rows` rows of `bytes` bytes, `stride` apart.
 * In the area they lie without gaps. `shortRows`: how many of them there are outside 64-bit mode (SDM Vol. 1 §13.5).
 */
interface Rows {
  nr: number
  base: number
  rows: number
  bytes: number
  stride: number
  shortRows: number
}
const REGISTER_ROWS: readonly Rows[] = [
  { nr: XFEATURE_YMM, base: VECTOR + 16, rows: 16, bytes: 16, stride: VECTOR_STRIDE, shortRows: 8 },
  { nr: XFEATURE_BNDREGS, base: BNDREGS, rows: 1, bytes: 64, stride: 64, shortRows: 1 },
  // BNDCFGU and BNDSTATUS; the rest of the component's 64 bytes is reserved.
  { nr: XFEATURE_BNDCSR, base: BNDCSR, rows: 1, bytes: 16, stride: 16, shortRows: 1 },
  { nr: XFEATURE_OPMASK, base: OPMASK, rows: 1, bytes: 64, stride: 64, shortRows: 1 },
  { nr: XFEATURE_ZMM_Hi256, base: VECTOR + 32, rows: 16, bytes: 32, stride: VECTOR_STRIDE, shortRows: 8 },
  { nr: XFEATURE_Hi16_ZMM, base: VECTOR + 16 * VECTOR_STRIDE, rows: 1, bytes: 1024, stride: 1024, shortRows: 0 },
  { nr: XFEATURE_XTILE_CFG, base: TILECFG, rows: 1, bytes: 64, stride: 64, shortRows: 1 },
  { nr: XFEATURE_XTILE_DATA, base: TILEDATA, rows: 1, bytes: 8192, stride: 8192, shortRows: 1 },
  { nr: XFEATURE_SYNTHETIC, base: SYNTHETIC, rows: 1, bytes: 256, stride: 256, shortRows: 1 },
  { nr: XFEATURE_APX, base: EGPR, rows: 1, bytes: 128, stride: 128, shortRows: 1 },
]

/** XRSTOR loads all eight tiles, and does not look at what they hold. */
const ALL_TILES = 0xff

/** State components 2 and up: register file to area and back, one component at a time. No checks: the caller has made them. */
export class ExtendedRegion {
  private readonly memory: MachineMemory
  private readonly base: number
  private readonly rowCopy: RowCopy
  private readonly supervisor: SupervisorState
  private readonly behaviour: XsaveBehaviour
  /** The columns of REGISTER_ROWS by component; `bytes` is 0 for components that are not rows. */
  private readonly source = new Int32Array(32)
  private readonly rows = new Int32Array(32)
  private readonly shortRows = new Int32Array(32)
  private readonly bytes = new Int32Array(32)
  private readonly stride = new Int32Array(32)

  constructor(memory: MachineMemory, base: number, rowCopy: RowCopy, supervisor: SupervisorState, behaviour: XsaveBehaviour) {
    this.memory = memory
    this.base = base
    this.rowCopy = rowCopy
    this.supervisor = supervisor
    this.behaviour = behaviour
    for (const row of REGISTER_ROWS) {
      this.source[row.nr] = base + row.base
      this.rows[row.nr] = row.rows
      this.shortRows[row.nr] = row.shortRows
      this.bytes[row.nr] = row.bytes
      this.stride[row.nr] = row.stride
    }
  }

  private rowCount(nr: number, mode: number): number {
    return (mode & MODE_LONG) !== 0 ? this.rows[nr] : this.shortRows[nr]
  }

  /** How many bytes of the area the component takes part with, in this mode. */
  extent(nr: number, size: number, mode: number): number {
    return this.bytes[nr] === 0 ? size : this.rowCount(nr, mode) * this.bytes[nr]
  }

  inUse(nr: number, mode: number): boolean {
    if (nr === XFEATURE_PKRU) return this.memory.i32[(this.base + PKRU) >>> 2] !== 0
    const bytes = this.bytes[nr]
    if (bytes === 0) return !this.supervisor.isInit(nr)
    if (nr === XFEATURE_XTILE_DATA && this.memory.i32[(this.base + TILES_IN_USE) >>> 2] !== 0) return true
    const rows = this.rowCount(nr, this.behaviour.inUseIgnoresMode ? MODE_LONG : mode)
    if (rows === 0) return false
    if (rows === 1 && bytes >= 64) return this.rowCopy.anySetLong(this.source[nr], bytes) !== 0
    return this.rowCopy.anySet(this.source[nr], rows, bytes, this.stride[nr]) !== 0
  }

  save(nr: number, destination: number, mode: number): void {
    const bytes = this.bytes[nr]
    if (nr === XFEATURE_PKRU) {
      const { i32 } = this.memory
      i32[destination >>> 2] = i32[(this.base + PKRU) >>> 2]
      i32[(destination >>> 2) + 1] = 0
    } else if (bytes === 0) this.supervisor.read(nr, destination)
    else {
      const rows = this.rowCount(nr, mode)
      if (rows !== 0) this.rowCopy.copy(destination, this.source[nr], rows, bytes, bytes, this.stride[nr])
    }
  }

  /** What XSAVE writes for a component that XFD disables: its initial value (SDM Vol. 1 §13.14). */
  saveInitial(nr: number, destination: number): void {
    this.rowCopy.zero(destination, this.rows[nr], this.bytes[nr], this.bytes[nr])
  }

  /** Whether the component's values would fault when loaded. */
  accepts(nr: number, source: number): boolean {
    return nr === XFEATURE_PKRU || this.bytes[nr] !== 0 || this.supervisor.accepts(nr, source)
  }

  load(nr: number, source: number, mode: number): void {
    const { i32, u8 } = this.memory
    const bytes = this.bytes[nr]
    if (nr === XFEATURE_PKRU) i32[(this.base + PKRU) >>> 2] = i32[source >>> 2]
    else if (nr === XFEATURE_XTILE_CFG) {
      // What hardware does with a configuration that LDTILECFG would refuse is not documented: here it gives the initial one,
      // so that tiles never have a shape the register file has no room for.
      if (tileConfigurationError(u8, source) !== null) this.init(nr, mode)
      else copyTileConfiguration(u8, this.source[nr], source)
    } else if (bytes === 0) this.supervisor.write(nr, source)
    else {
      const rows = this.rowCount(nr, mode)
      if (rows !== 0) this.rowCopy.copy(this.source[nr], source, rows, bytes, this.stride[nr], bytes)
      if (nr === XFEATURE_XTILE_DATA) i32[(this.base + TILES_IN_USE) >>> 2] = ALL_TILES
    }
  }

  init(nr: number, mode: number): void {
    const bytes = this.bytes[nr]
    if (nr === XFEATURE_PKRU) this.memory.i32[(this.base + PKRU) >>> 2] = 0
    else if (bytes === 0) this.supervisor.init(nr)
    else {
      const rows = this.rowCount(nr, mode)
      if (rows !== 0) this.rowCopy.zero(this.source[nr], rows, bytes, this.stride[nr])
      if (nr === XFEATURE_XTILE_DATA) this.memory.i32[(this.base + TILES_IN_USE) >>> 2] = 0
    }
  }
}
