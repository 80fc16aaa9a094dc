import { xstateLayout } from '../../../src/isa/xstate-layout.ts'
import { AmxUnit, TILE_DOT, type TileDot, type TileMemory } from '../../../src/machine/amx/amx-unit.ts'
import { MachineMemory } from '../../../src/machine/machine-memory.ts'
import { MXCSR, PROCESSOR_BASE, SCRATCH_BASE, XCR0 } from '../../../src/machine/memory-map.ts'
import { XRSTOR, XSAVE } from '../../../src/machine/xsave/forms.ts'
import { XsaveEngine } from '../../../src/machine/xsave/xsave-engine.ts'
import { type AmxBackend, MEM, MEM_SIZE, type Outcome, SCRATCH, SCRATCH_SIZE } from './replay.ts'

const PF = 14
const GP = 13
/** Where in wasm memory the backend keeps an XSAVE area and the 64 bytes of a tile configuration. */
const AREA = SCRATCH_BASE
const CONFIG = SCRATCH_BASE + 0x8000

/** Memory of two regions with page permissions, as a user program would see it. */
class FakeMemory {
  readonly mem = new Uint8Array(MEM_SIZE)
  readonly scratch = new Uint8Array(SCRATCH_SIZE)
  readonly access = new Map<bigint, 'ro' | 'none'>()
  errorCode = 0
  address = 0n

  /** 0, #GP or #PF; then `errorCode` and `address` are set. */
  check(address: bigint, bytes: number, write: boolean): number {
    if (BigInt.asIntN(48, address) !== BigInt.asIntN(64, address)) return GP
    for (let page = address >> 12n; page <= (address + BigInt(bytes) - 1n) >> 12n; page++) {
      const access = this.access.get(page << 12n)
      const inside = this.region(page << 12n) !== null
      if (inside && access === undefined) continue
      if (access === 'ro' && !write) continue
      this.errorCode = (access === 'ro' ? 1 : 0) | (write ? 2 : 0) | 4
      this.address = page << 12n > address ? page << 12n : address
      return PF
    }
    return 0
  }

  private region(address: bigint): { bytes: Uint8Array; from: bigint } | null {
    if (address >= MEM && address < MEM + BigInt(MEM_SIZE)) return { bytes: this.mem, from: MEM }
    if (address >= SCRATCH && address < SCRATCH + BigInt(SCRATCH_SIZE)) return { bytes: this.scratch, from: SCRATCH }
    return null
  }

  at(address: bigint, length: number): Uint8Array {
    const { bytes, from } = this.region(address)!
    const offset = Number(address - from)
    return bytes.subarray(offset, offset + length)
  }
}

/** AmxUnit and XsaveEngine behind the smallest decoder that the recorded valid instructions need. */
export class UnitBackend implements AmxBackend {
  private readonly memory = new MachineMemory(0x10000)
  private readonly unit = new AmxUnit(this.memory, PROCESSOR_BASE)
  private readonly xsave: XsaveEngine
  private fake = new FakeMemory()

  constructor() {
    const layout = xstateLayout([
      { nr: 17, size: 64, offset: 2752, align64: true },
      { nr: 18, size: 8192, offset: 2816, align64: true, xfd: true },
    ])
    this.xsave = new XsaveEngine(this.memory, PROCESSOR_BASE, layout)
    this.memory.u32[(PROCESSOR_BASE + XCR0) >> 2] = 0x60003
  }

  reset(): void {
    this.unit.release()
    this.fake.access.clear()
  }
  poke(address: bigint, bytes: Uint8Array): void {
    this.fake.at(address, bytes.length).set(bytes)
  }
  peek(address: bigint, length: number): Uint8Array {
    return this.fake.at(address, length).slice()
  }
  protect(address: bigint, access: 'rw' | 'ro' | 'none'): void {
    if (access === 'rw') this.fake.access.delete(address)
    else this.fake.access.set(address, access)
  }
  restoreTiles(config: Uint8Array, data: Uint8Array): void {
    this.memory.u8.fill(0, AREA, AREA + 576)
    this.memory.u32[(AREA + 512) >> 2] = 0x60000
    this.memory.u8.set(config, AREA + 2752)
    this.memory.u8.set(data, AREA + 2816)
    if (this.xsave.restore(AREA, 0x60000, XRSTOR) !== 0) throw new Error(this.xsave.reason)
  }
  tileData(): Uint8Array {
    this.memory.u8.fill(0, AREA, AREA + 0x3000)
    this.xsave.save(AREA, 0x60000, XSAVE)
    const used = (this.memory.u32[(AREA + 512) >> 2] & 0x40000) !== 0
    return used ? this.memory.u8.slice(AREA + 2816, AREA + 2816 + 8192) : new Uint8Array(8192)
  }

  execute(code: Uint8Array, registers: { rdi: bigint; rsi: bigint; mxcsr: number }): Outcome {
    const { view } = this.memory
    view.setUint32(PROCESSOR_BASE + MXCSR, registers.mxcsr, true)
    this.fake.errorCode = 0
    const vector = this.dispatch(code, registers.rdi, registers.rsi)
    return {
      vector,
      errorCode: this.fake.errorCode,
      address: this.fake.address,
      mxcsr: view.getUint32(PROCESSOR_BASE + MXCSR, true),
    }
  }

  private dispatch(code: Uint8Array, rdi: bigint, rsi: bigint): number {
    if (code[0] !== 0xc4 || code[1] !== 0xe2 || (code[2] & 0x84) !== 0) throw new Error('not an encoding of the unit test')
    const pp = code[2] & 3
    const [modrm, sib] = [code[4], code[5]]
    const tile = (modrm >> 3) & 7
    switch (code[3]) {
      case 0x49:
        if (pp === 3) return this.unit.zero(tile)
        return pp === 1 ? this.storeConfig(rdi) : modrm === 0xc0 ? this.release() : this.loadConfig(rdi)
      case 0x4b: {
        const displacement = displacementOf(code)
        const base = BigInt.asUintN(64, rdi + BigInt(displacement))
        const stride = BigInt.asUintN(64, ((sib >> 3) & 7) === 4 ? 0n : rsi << BigInt(sib >> 6))
        const run = pp === 2 ? this.unit.store : this.unit.load
        return run.call(this.unit, tile, ...halves(base), ...halves(stride), this.tileMemory)
      }
      default:
        return this.unit.dot(DOT[`${code[3].toString(16)}.${pp}`], tile, modrm & 7, (~code[2] >> 3) & 15)
    }
  }

  private loadConfig(address: bigint): number {
    const fault = this.fake.check(address, 64, false)
    if (fault !== 0) return fault
    this.memory.u8.set(this.fake.at(address, 64), CONFIG)
    return this.unit.loadConfig(CONFIG)
  }
  private storeConfig(address: bigint): number {
    const fault = this.fake.check(address, 64, true)
    if (fault !== 0) return fault
    this.unit.storeConfig(CONFIG)
    this.fake.at(address, 64).set(this.memory.u8.subarray(CONFIG, CONFIG + 64))
    return 0
  }
  private release(): number {
    this.unit.release()
    return 0
  }

  private readonly tileMemory: TileMemory = {
    readRow: (lo, hi, bytes, destination) => {
      const address = joined(lo, hi)
      const fault = this.fake.check(address, bytes, false)
      if (fault === 0) this.memory.u8.set(this.fake.at(address, bytes), destination)
      return fault
    },
    writeRow: (lo, hi, bytes, source) => {
      const address = joined(lo, hi)
      const fault = this.fake.check(address, bytes, true)
      if (fault === 0) this.fake.at(address, bytes).set(this.memory.u8.subarray(source, source + bytes))
      return fault
    },
  }
}

/** opcode.pp */
const DOT: Record<string, TileDot> = {
  '5e.3': TILE_DOT.TDPBSSD,
  '5e.2': TILE_DOT.TDPBSUD,
  '5e.1': TILE_DOT.TDPBUSD,
  '5e.0': TILE_DOT.TDPBUUD,
  '5c.2': TILE_DOT.TDPBF16PS,
  '5c.3': TILE_DOT.TDPFP16PS,
  '6c.1': TILE_DOT.TCMMIMFP16PS,
  '6c.0': TILE_DOT.TCMMRLFP16PS,
}

/** Signed displacement behind ModRM and SIB. */
function displacementOf(code: Uint8Array): number {
  const view = new DataView(code.buffer, code.byteOffset)
  const mod = code[4] >> 6
  return mod === 1 ? view.getInt8(6) : mod === 2 ? view.getInt32(6, true) : 0
}
function halves(value: bigint): [number, number] {
  return [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))]
}
function joined(lo: number, hi: number): bigint {
  return BigInt.asUintN(64, (BigInt(hi) << 32n) | BigInt(lo >>> 0))
}
