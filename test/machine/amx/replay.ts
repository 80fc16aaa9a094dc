import { fnv1a, fromHex, toHex, xorshift } from './prng.ts'
import type { AmxCase } from './vectors.ts'

/** What happened to one instruction. */
export interface Outcome {
  /** 0: it completed. */
  vector: number
  errorCode: number
  /** #PF: linear address. */
  address: bigint
  mxcsr: number
}

/**
 * Something that executes AMX instructions in 64-bit user mode with tile data permitted: the AmxUnit behind a small decoder,
 * or the whole engine. Two regions of memory exist, MEM and SCRATCH.
 */
export interface AmxBackend {
  /** Tiles initial, all memory readable and writable. */
  reset(): void
  poke(address: bigint, bytes: Uint8Array): void
  peek(address: bigint, length: number): Uint8Array
  /** Access to one page of MEM. */
  protect(address: bigint, access: 'rw' | 'ro' | 'none'): void
  execute(code: Uint8Array, registers: { rdi: bigint; rsi: bigint; mxcsr: number }): Outcome
  /** XRSTOR of components 17 and 18, both present. */
  restoreTiles(config: Uint8Array, data: Uint8Array): void
  /** XSAVE of component 18: its 8192 bytes, zeros if XSTATE_BV[18] is clear. */
  tileData(): Uint8Array
}

export const MEM = 0x1000_0000n
export const MEM_SIZE = 32768
export const SCRATCH = 0x2000_0000n
export const SCRATCH_SIZE = 8192
const NONCANONICAL = 0x1000_0000_0000_0000n
const MXCSR_DEFAULT = 0x1f80

const LDTILECFG = fromHex('c4e2784907')
const STTILECFG = fromHex('c4e2794907')
const TILERELEASE = fromHex('c4e27849c0')
/** TILELOADD tile, [rdi + rsi]. */
const tileLoad = (tile: number): Uint8Array => Uint8Array.of(0xc4, 0xe2, 0x7b, 0x4b, 0x04 | (tile << 3), 0x37)

/** What every case starts from in the recording program: eight shapes, tile 6 unused. */
const STANDARD_CONFIG =
  '0100000000000000000000000000000040004000400014000c00040000001c000000000000000000000000000000000010101003050100070000000000000000'

/** Runs one recorded case and says what differs; [] if nothing does. Follows the recording program step by step. */
export function replay(backend: AmxBackend, c: AmxCase): string[] {
  return new Replay(backend, c).run()
}

class Replay {
  private readonly b: AmxBackend
  private readonly c: AmxCase
  private readonly differences: string[] = []

  constructor(backend: AmxBackend, c: AmxCase) {
    this.b = backend
    this.c = c
  }

  run(): string[] {
    const { b, c } = this
    b.reset()
    if (c.mkn !== undefined) this.dotProduct(c.mkn)
    else if (c.at_fault !== undefined) this.faultAndRestart()
    else {
      const registers = this.prepare()
      this.check(this.executeCase(registers.rdi, registers.rsi))
      this.checkMemory()
    }
    return this.differences
  }

  // ---- steps ----------------------------------------------------------------------------------------------------

  private ok(code: Uint8Array, rdi: bigint, rsi = 0n): void {
    const outcome = this.b.execute(code, { rdi, rsi, mxcsr: MXCSR_DEFAULT })
    if (outcome.vector !== 0) this.differences.push(`preparation ${toHex(code)} raised ${outcome.vector}`)
  }
  private loadConfig(config: string): void {
    this.b.poke(SCRATCH, fromHex(config))
    this.ok(LDTILECFG, SCRATCH)
  }
  private storedConfig(): Uint8Array {
    this.ok(STTILECFG, SCRATCH)
    return this.b.peek(SCRATCH, 64)
  }
  /** Tiles of the present configuration from the streams seed + tile. */
  private preload(config: string, seed: number): void {
    for (let tile = 0; tile < 8; tile++) {
      const { rows, colsb } = shape(config, tile)
      if (rows === 0 || colsb % 4 !== 0) continue
      this.b.poke(SCRATCH, xorshift(1024, BigInt(seed + tile)))
      this.ok(tileLoad(tile), SCRATCH, 64n)
    }
  }
  /** Tile data as the recording program builds it for XRSTOR: stream seed + position, cut to the shapes. */
  private restoreTiles(config: string, seed: number, tiles: readonly number[]): void {
    const data = new Uint8Array(8192)
    for (const [k, tile] of tiles.entries()) {
      const { rows, colsb } = shape(config, tile)
      const stream = xorshift(1024, BigInt(seed + k))
      for (let row = 0; row < rows; row++) data.set(stream.subarray(row * 64, row * 64 + colsb), tile * 1024 + row * 64)
    }
    this.b.restoreTiles(fromHex(config), data)
  }
  private executeCase(rdi: bigint, rsi: bigint): Outcome {
    return this.b.execute(fromHex(this.c.code), { rdi, rsi, mxcsr: Number(this.c.mxcsr_before) })
  }

  // ---- dot products ---------------------------------------------------------------------------------------------

  private dotProduct([m, k, n]: [number, number, number]): void {
    const { c, b } = this
    const [c0, a0, b0] = this.dotInputs(m, k, n)
    const [destination, source1, source2] = c.tiles!
    this.loadConfig(c.cfg)
    for (const [tile, data, stride] of [
      [destination, c0, 4 * n],
      [source1, a0, 4 * k],
      [source2, b0, 4 * n],
    ] as const) {
      b.poke(SCRATCH, data)
      this.ok(tileLoad(tile), SCRATCH, BigInt(stride))
    }
    this.check(this.executeCase(0n, 0n))
  }

  private dotInputs(m: number, k: number, n: number): [Uint8Array, Uint8Array, Uint8Array] {
    const { c } = this
    const input = c.in!
    if (input.c !== undefined) return [fromHex(input.c), fromHex(input.a!), fromHex(input.b!)]
    const made: [Uint8Array, Uint8Array, Uint8Array] = [
      xorshift(4 * m * n, BigInt(input.seed_c!)),
      xorshift(4 * m * k, BigInt(input.seed_a!)),
      xorshift(4 * k * n, BigInt(input.seed_b!)),
    ]
    if (input.kind === 'mod') {
      moderate32(made[0])
      moderate16(made[1], c.insn === 'TDPBF16PS')
      moderate16(made[2], c.insn === 'TDPBF16PS')
    }
    for (let i = 0; i < 3; i++) this.same(`in_fnv ${i}`, fnv1a(made[i]), c.in_fnv![i])
    return made
  }

  // ---- all others -----------------------------------------------------------------------------------------------

  /** Brings registers and memory to where the case's instruction starts. */
  private prepare(): { rdi: bigint; rsi: bigint } {
    const { b, c } = this
    const input = c.in ?? {}
    const [name, why] = c.case.split('.')
    const startRow = Number.parseInt(c.cfg.slice(2, 4), 16)
    const stride = BigInt.asUintN(64, BigInt(input.stride ?? 0))
    if (name === 'TILERELEASE' || name === 'TILEZERO') {
      this.loadConfig(c.cfg)
      if (name === 'TILERELEASE' ? Number(why) < 2 : input.tiles_seed !== 0) this.preload(c.cfg, 77)
      if (c.case === 'TILERELEASE.1') this.ok(TILERELEASE, 0n)
      return { rdi: 0n, rsi: 0n }
    }
    if (name === 'LDTILECFG' || name === 'STTILECFG') return { rdi: this.prepareConfig(why), rsi: 0n }
    if (input.mem_seed !== undefined) b.poke(MEM, xorshift(MEM_SIZE, BigInt(input.mem_seed)))
    if (name === 'encoding' && why === 'ldtilecfg') b.poke(MEM + BigInt(input.base_off!), fromHex(c.cfg))
    if (why === 'restart') this.restoreTiles(c.cfg, 900, [0, 1, 2, 3, 4, 5, 6, 7])
    else if (why === 'operands' && startRow !== 0) this.restoreTiles(c.cfg, 400, c.tiles!)
    else if (c.case.endsWith('.released')) {
      this.loadConfig(STANDARD_CONFIG)
      this.preload(STANDARD_CONFIG, input.tiles_seed!)
      this.ok(TILERELEASE, 0n)
    } else {
      this.loadConfig(c.cfg)
      if (input.tiles_seed !== 0) this.preload(c.cfg, input.tiles_seed!)
    }
    if (input.bad_page_off !== undefined) b.protect(MEM + BigInt(input.bad_page_off), 'none')
    if (why === 'refused' && c.case.endsWith('noncanonical')) return { rdi: NONCANONICAL, rsi: stride }
    return { rdi: MEM + BigInt(input.base_off ?? 0), rsi: stride }
  }

  /** LDTILECFG and STTILECFG: RDI for the case's instruction. */
  private prepareConfig(why: string): bigint {
    const { b, c } = this
    if (why === 'mem') {
      b.poke(MEM + 8192n, fromHex(STANDARD_CONFIG))
      b.poke(MEM + 4096n - 64n, fromHex(STANDARD_CONFIG))
      b.protect(MEM + 4096n, 'none')
      b.protect(MEM + 8192n, 'ro')
      this.loadConfig(STANDARD_CONFIG)
      this.preload(STANDARD_CONFIG, 77)
      return c.in!.mem_off! < 0 ? NONCANONICAL : MEM + BigInt(c.in!.mem_off!)
    }
    if (c.insn === 'LDTILECFG') {
      this.loadConfig(c.cfg_before!)
      this.preload(c.cfg_before!, 77)
      b.poke(MEM, fromHex(c.cfg))
    } else {
      this.loadConfig(c.cfg)
      b.poke(MEM, new Uint8Array(64).fill(0xee))
    }
    return MEM
  }

  /** A row meets a page it may not use; then access is given and the same instruction runs again. */
  private faultAndRestart(): void {
    const { b, c } = this
    const input = c.in!
    const tile = c.tiles![0]
    const { rows, colsb } = shape(c.cfg, tile)
    const bad = MEM + BigInt(input.bad_page_off!)
    b.poke(MEM, xorshift(MEM_SIZE, BigInt(input.mem_seed!)))
    this.loadConfig(c.cfg)
    this.preload(c.cfg, input.tiles_seed!)
    b.protect(bad, input.bad_page === 'none' ? 'none' : 'ro')
    const rdi = MEM + BigInt(input.base_off!)
    const rsi = BigInt.asUintN(64, BigInt(input.stride!))
    this.checkFault(this.executeCase(rdi, rsi))
    const startRow = this.storedConfig()[1]
    this.same('start_row at the fault', startRow, c.at_fault!.start_row)
    this.same('rows done', fnv1a(packed(b.tileData(), tile, Math.min(startRow, rows), colsb)), c.at_fault!.done_rows_fnv)
    b.protect(bad, 'rw')
    if (c.mem_at_fault_fnv !== undefined) this.same('memory at the fault', fnv1a(b.peek(MEM, MEM_SIZE)), c.mem_at_fault_fnv)
    const again = this.executeCase(rdi, rsi)
    const then = c.then!
    this.same('vector of the second run', again.vector, then.signal)
    this.same('start_row at the end', this.storedConfig()[1], then.start_row)
    this.same('tile', fnv1a(packed(b.tileData(), tile, rows, colsb)), then.tile_fnv)
    this.same('tile data', fnv1a(b.tileData()), then.tiledata_fnv)
    if (then.mem_after_fnv !== undefined) this.same('memory', fnv1a(b.peek(MEM, MEM_SIZE)), then.mem_after_fnv)
  }

  // ---- comparison -----------------------------------------------------------------------------------------------

  private same(what: string, ours: string | number, recorded: string | number): void {
    if (ours !== recorded) this.differences.push(`${what}: ${ours}, recorded ${recorded}`)
  }

  private checkFault(outcome: Outcome): void {
    const { c } = this
    this.same('vector', outcome.vector, c.signal === 0 ? 0 : c.trapno!)
    if (outcome.vector === 0 || outcome.vector !== c.trapno) return
    this.same('error code', outcome.errorCode, c.err!)
    if (typeof c.si_addr === 'string' && c.si_addr.startsWith('mem+')) {
      // Only the page is architectural when a row crosses into it.
      const recorded = MEM + BigInt(c.si_addr.slice(4))
      this.same('page', Number(outcome.address >> 12n), Number(recorded >> 12n))
    }
  }

  private check(outcome: Outcome): void {
    const { b, c } = this
    this.checkFault(outcome)
    this.same('MXCSR', outcome.mxcsr, Number(c.mxcsr_after))
    const data = b.tileData()
    if (c.xstate_bv18 !== undefined) this.same('tile data in use', data.some((byte) => byte !== 0) ? 1 : 0, c.xstate_bv18)
    this.same('tile data', fnv1a(data), c.tiledata_fnv!)
    if (c.insn === 'STTILECFG' && c.out !== undefined) this.same('stored', toHex(b.peek(MEM, 64)), c.out)
    else this.checkTile(data)
    this.same('configuration', toHex(this.storedConfig()), c.cfg_after ?? c.cfg)
  }

  private checkTile(data: Uint8Array): void {
    const { c } = this
    if (c.tiles === undefined) return
    const { rows, colsb } = shape(c.cfg, c.tiles[0])
    const tile = packed(data, c.tiles[0], rows, colsb & ~3)
    if (c.out !== undefined) this.same('tile', toHex(tile), c.out)
    if (c.out_row0 !== undefined) this.same('row 0', toHex(tile.subarray(0, colsb)), c.out_row0)
    if (c.out_fnv !== undefined) this.same('tile', fnv1a(tile), c.out_fnv)
  }

  private checkMemory(): void {
    const { b, c } = this
    if (c.mem_after_fnv === undefined) return
    if (c.in!.bad_page_off !== undefined) b.protect(MEM + BigInt(c.in!.bad_page_off), 'rw')
    this.same('memory', fnv1a(b.peek(MEM, MEM_SIZE)), c.mem_after_fnv)
    for (const [row, hex] of (c.mem_rows ?? []).entries()) {
      const at = MEM + BigInt(c.in!.base_off! + c.in!.disp! + row * c.in!.stride! * c.in!.scale!)
      this.same(`memory of row ${row}`, toHex(b.peek(at, hex.length / 2)), hex)
    }
  }
}

function shape(config: string, tile: number): { rows: number; colsb: number } {
  const bytes = fromHex(config)
  return { rows: bytes[48 + tile], colsb: bytes[16 + 2 * tile] | (bytes[17 + 2 * tile] << 8) }
}

function packed(tileData: Uint8Array, tile: number, rows: number, colsb: number): Uint8Array {
  const out = new Uint8Array(rows * colsb)
  for (let row = 0; row < rows; row++)
    out.set(tileData.subarray(tile * 1024 + row * 64, tile * 1024 + row * 64 + colsb), row * colsb)
  return out
}

/** kind `mod`: exponents near 1, or for float16 only no infinities and NaN. */
function moderate16(data: Uint8Array, bfloat16: boolean): void {
  const halves = new Uint16Array(data.buffer, data.byteOffset, data.length / 2)
  for (let i = 0; i < halves.length; i++) {
    const v = halves[i]
    if (bfloat16) halves[i] = (v & 0x807f) | ((0x70 + ((v >> 7) & 31)) << 7)
    else if ((v & 0x7c00) === 0x7c00) halves[i] = v & ~0x4000
  }
}
function moderate32(data: Uint8Array): void {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length / 4)
  for (let i = 0; i < words.length; i++) words[i] = (words[i] & 0x807fffff) | ((0x70 + ((words[i] >>> 23) & 31)) << 23)
}
