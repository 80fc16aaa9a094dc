import type { InstructionDecoder } from './decoder/decoder.ts'
import { floatRoutines } from './instructions/float/routines.ts'
import type { MachineMemory } from './machine-memory.ts'
import {
  CONTEXT_TAG,
  JUMP_CACHE_BASE,
  JUMP_ENTRIES,
  JUMP_ENTRY_SIZE,
  PHYSICAL_BASE,
  REGION_COUNTER_BASE,
  REGION_SLOTS,
} from './memory-map.ts'
import { MODE_BITS, MODE_ENDBRANCH_DUE } from './mode.ts'
import type { SoftwareTlbPool } from './software-tlb.ts'
import { bitnessOf, type CompiledRegion, RegionCompiler } from './translate/region.ts'
import { jumpCacheOffset, runtimeModule } from './wasm/runtime-module.ts'

/** Entries after which a cold region is compiled for speed. */
const HOT_AFTER = 24
/** Most bytes of the next page an instruction can need. */
const TAIL = 15

export interface Region extends CompiledRegion {
  slot: number
  hpaPage: number
  /** Page of the tail of an instruction that crosses, or -1. */
  hpaPage2: number
  ripLo: number
  ripHi: number
  mode: number
  single: boolean
  /** Page offset it was discovered from. */
  entry: number
  hot: boolean
}

/** The functions compiled code imports; the machine supplies those that reach TypeScript. */
export interface RegionImports {
  readSlow(ctx: number, lo: number, hi: number, info: number): number
  writeSlow(ctx: number, lo: number, hi: number, info: number): number
  modifySlow(ctx: number, lo: number, hi: number, info: number): number
  commit(ctx: number): number
  callOut(ctx: number, id: number, argument: number, info: number): number
  assist(ctx: number, id: number, argument: number, info: number): number
}

/** Switches that turn one optimization off each; results must not change (they are for finding out whose fault it is). */
export interface EngineOptions {
  /** Most instructions in a region. 1 makes every instruction a region. */
  regionLimit?: number
  /** Most regions that exist at a time (at most, and by default, REGION_SLOTS); when there is no room for another, all go. */
  regionSlots?: number
  /** Keep compiled regions for entry through the jump cache; false looks every entry up in TypeScript. */
  jumpCache?: boolean
  /** Keep translations in the software TLBs; false walks at each access. */
  softwareTlb?: boolean
  /** Regions are first compiled for a quick start, and again for speed when they have been entered often; false: at once. */
  tiers?: boolean
  /** Computed jumps look for their target in the same region before they leave it. */
  insideJumps?: boolean
  /** A block that jumps to itself is a loop of its own. */
  selfLoops?: boolean
  /** Conditions are computed from the operands of the instruction that set the flags, when it is known. */
  fusedConditions?: boolean
  /** Hot code keeps vector registers in locals too. */
  vectorLocals?: boolean
  /** Float operations run natively where that is exact. */
  nativeFloat?: boolean
}

/** Names of the switches, for command lines and tests. */
export const ENGINE_SWITCHES = [
  'tiers',
  'jumpCache',
  'softwareTlb',
  'insideJumps',
  'selfLoops',
  'fusedConditions',
  'vectorLocals',
  'nativeFloat',
] as const

/** Compiled regions by the physical page they came from, and the table and jump cache through which they are reached. */
export class CodeCache {
  private readonly mem: MachineMemory
  private readonly tlbs: SoftwareTlbPool
  private readonly decoder: InstructionDecoder
  readonly compiler: RegionCompiler
  private readonly table: WebAssembly.Table
  /** Runs from the context's RIP until a region returns something other than EXIT_JUMP. */
  readonly run: (ctx: number, registerFile: number) => number
  private readonly imports: WebAssembly.Imports
  private readonly byPage = new Map<number, Region[]>()
  /** Regions by where they can be entered: physical page * 4096 + page offset. */
  private readonly byEntry = new Map<number, Region[]>()
  private readonly freeSlots: number[] = []
  private readonly options: { regionLimit: number; jumpCache: boolean; softwareTlb: boolean; tiers: boolean }
  /** 1 for physical pages with compiled code: writes to them take the slow path. */
  readonly codePage: Uint8Array
  /** 64 bits a page: which 64-byte pieces hold compiled instructions. */
  private readonly codePieces: Uint32Array
  regionsCompiled = 0
  regionsDropped = 0
  bytesCompiled = 0
  readonly liveRegions = new Set<Region>()

  constructor(
    mem: MachineMemory,
    tlbs: SoftwareTlbPool,
    decoder: InstructionDecoder,
    imports: RegionImports,
    options: EngineOptions,
  ) {
    this.mem = mem
    this.tlbs = tlbs
    this.decoder = decoder
    this.compiler = new RegionCompiler(decoder, options)
    this.options = {
      regionLimit: options.regionLimit ?? 160,
      jumpCache: options.jumpCache ?? true,
      softwareTlb: options.softwareTlb ?? true,
      tiers: options.tiers ?? true,
    }
    const runtime = new WebAssembly.Instance(new WebAssembly.Module(runtimeModule(REGION_SLOTS) as Uint8Array<ArrayBuffer>), {
      m: { memory: mem.wasm, readSlow: imports.readSlow as never, modifySlow: imports.modifySlow as never },
    })
    const exports = runtime.exports as Record<string, never>
    this.table = exports.table
    this.run = exports.run
    this.imports = {
      m: {
        memory: mem.wasm,
        flags: exports.flags,
        mulHighU: exports.mulHighU,
        mulHighS: exports.mulHighS,
        readPointer: exports.readPointer,
        modifyPointer: exports.modifyPointer,
        storePointer: exports.storePointer,
        ...floatRoutines(mem.wasm, imports.assist),
        ...(imports as unknown as WebAssembly.ModuleImports),
      },
    }
    const pages = mem.physicalBytes >>> 12
    this.codePage = new Uint8Array(pages)
    this.codePieces = new Uint32Array(pages * 2)
    for (let i = Math.min(REGION_SLOTS, options.regionSlots ?? REGION_SLOTS) - 1; i >= 0; i--) this.freeSlots.push(i)
    this.clearJumpCache()
  }

  clearJumpCache(): void {
    this.mem.i32.fill(0, JUMP_CACHE_BASE >> 2, (JUMP_CACHE_BASE + JUMP_ENTRIES * JUMP_ENTRY_SIZE) >> 2)
  }

  /** A region of the page that can be entered at `offset`, or undefined. `tailPage` as in `compile`. */
  find(
    hpaPage: number,
    tailPage: number,
    ripLo: number,
    ripHi: number,
    mode: number,
    offset: number,
    single: boolean,
  ): Region | undefined {
    const list = this.byEntry.get(hpaPage * 4096 + offset)
    if (list === undefined) return undefined
    for (const r of list) {
      if (r.mode === mode && r.ripLo === ripLo && r.ripHi === ripHi && r.single === single && r.hpaPage2 === tailPage) return r
    }
    return undefined
  }

  /**
   * Compiles from a page; `tailPage` is the physical page that follows in linear space (-1: not known). Returns null when
   * the first instruction is not wholly within the page (and `tailPage` is -1) or does not decode.
   */
  compile(
    hpaPage: number,
    tailPage: number,
    ripLo: number,
    ripHi: number,
    mode: number,
    offset: number,
    single: boolean,
  ): Region | null {
    if (this.freeSlots.length === 0) this.dropAll()
    this.fillWindow(hpaPage, tailPage, mode)
    const limit = single || tailPage >= 0 || (mode & MODE_ENDBRANCH_DUE) !== 0 ? 1 : this.options.regionLimit
    const slot = this.freeSlots.pop()!
    const hot = !this.options.tiers
    const compiled = this.compiler.compile({ ripLo, ripHi, mode }, offset, limit, slot, hot)
    if (compiled === null) {
      this.freeSlots.push(slot)
      return null
    }
    const region: Region = {
      ...compiled,
      slot,
      hpaPage,
      hpaPage2: tailPage,
      ripLo,
      ripHi,
      mode,
      single,
      entry: offset,
      hot: hot || limit === 1,
    }
    this.mem.i32[(REGION_COUNTER_BASE >> 2) + slot] = HOT_AFTER
    this.install(region)
    this.add(region)
    return region
  }

  private install(region: Region): void {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(region.bytes as Uint8Array<ArrayBuffer>), this.imports)
    this.table.set(region.slot, instance.exports.r as () => number)
    this.regionsCompiled++
    this.bytesCompiled += region.bytes.length
  }

  /** Compiles a cold region again for speed; its slot and block numbers stay, so whoever knows them finds the new code. */
  heat(region: Region): void {
    if (region.hot) return
    region.hot = true
    this.fillWindow(region.hpaPage, -1, region.mode)
    const { ripLo, ripHi, mode, entry, slot } = region
    const compiled = this.compiler.compile({ ripLo, ripHi, mode }, entry, this.options.regionLimit, slot, true)
    if (compiled === null) throw new Error('a region that was compiled once does not compile again')
    region.bytes = compiled.bytes
    this.install(region)
  }

  private fillWindow(hpaPage: number, tailPage: number, mode: number): void {
    const length = tailPage >= 0 ? 4096 + TAIL : 4096
    const start = PHYSICAL_BASE + hpaPage * 4096
    if (tailPage < 0) this.decoder.setWindow(bitnessOf(mode), this.mem.u8, start, length)
    else {
      const bytes = new Uint8Array(length)
      bytes.set(this.mem.u8.subarray(start, start + 4096))
      const tail = PHYSICAL_BASE + tailPage * 4096
      bytes.set(this.mem.u8.subarray(tail, tail + TAIL), 4096)
      this.decoder.setWindow(bitnessOf(mode), bytes, 0, length)
    }
  }

  private add(region: Region): void {
    this.liveRegions.add(region)
    for (const offset of region.entries.keys()) {
      const key = region.hpaPage * 4096 + offset
      const list = this.byEntry.get(key)
      if (list === undefined) this.byEntry.set(key, [region])
      else list.push(region)
    }
    for (const page of region.hpaPage2 >= 0 ? [region.hpaPage, region.hpaPage2] : [region.hpaPage]) {
      const list = this.byPage.get(page)
      if (list === undefined) this.byPage.set(page, [region])
      else list.push(region)
      if (this.codePage[page] === 0) this.protect(page)
    }
    for (let i = 0; i < region.extents.length; i += 2) {
      for (let at = region.extents[i] >> 6; at <= (region.extents[i + 1] - 1) >> 6; at++) {
        const page = at < 64 ? region.hpaPage : region.hpaPage2
        const piece = at & 63
        this.codePieces[page * 2 + (piece >> 5)] |= 1 << (piece & 31)
      }
    }
  }

  /** From now on writes to the page are noticed: takes it out of every TLB's write side. */
  private protect(page: number): void {
    this.codePage[page] = 1
    this.tlbs.forbidWrites(page)
  }

  /** Puts an entry into the jump cache for the running context. */
  remember(region: Region, ctxBase: number, ripLo: number, ripHi: number, offset: number): void {
    if (!this.options.jumpCache || region.single) return
    const i32 = this.mem.i32
    const at = jumpCacheOffset(ripLo) >> 2
    i32[at] = ripLo
    i32[at + 1] = ripHi
    i32[at + 2] = i32[(ctxBase + CONTEXT_TAG) >> 2]
    i32[at + 3] = region.slot | (region.entries.get(offset)! << 16)
  }

  /** Enters one region at a block, without the jump cache. */
  enter(region: Region, ctx: number, registerFile: number, offset: number): number {
    return (this.table.get(region.slot) as (ctx: number, fpu: number, entry: number) => number)(
      ctx,
      registerFile,
      region.entries.get(offset)!,
    )
  }

  /** Whether [offset, offset + bytes) of the page holds compiled instructions. */
  holdsCode(hpaPage: number, offset: number, bytes: number): boolean {
    if (this.codePage[hpaPage] === 0) return false
    const last = Math.min(4095, offset + bytes - 1) >> 6
    for (let piece = offset >> 6; piece <= last; piece++) {
      if (this.codePieces[hpaPage * 2 + (piece >> 5)] & (1 << (piece & 31))) return true
    }
    return false
  }

  /** Drops what was compiled from the page. */
  dropPage(hpaPage: number): void {
    if (this.dropRegions(hpaPage)) this.clearJumpCache()
  }

  /** The caller clears the jump cache if there were any. */
  private dropRegions(hpaPage: number): boolean {
    const list = this.byPage.get(hpaPage)
    this.codePage[hpaPage] = 0
    this.codePieces[hpaPage * 2] = this.codePieces[hpaPage * 2 + 1] = 0
    if (list === undefined) return false
    this.byPage.delete(hpaPage)
    for (const region of list) this.drop(region, hpaPage)
    return true
  }

  private drop(region: Region, except: number): void {
    if (!this.liveRegions.delete(region)) return
    this.regionsDropped++
    this.table.set(region.slot, null)
    this.freeSlots.push(region.slot)
    for (const offset of region.entries.keys()) this.removeEntry(region, region.hpaPage * 4096 + offset)
    const other = region.hpaPage === except ? region.hpaPage2 : region.hpaPage
    const list = this.byPage.get(other)
    if (list !== undefined) list.splice(list.indexOf(region), 1)
  }

  private removeEntry(region: Region, key: number): void {
    const list = this.byEntry.get(key)!
    if (list.length === 1) this.byEntry.delete(key)
    else list.splice(list.indexOf(region), 1)
  }

  /** Memory [hpa, hpa + bytes) was written by something other than compiled code. */
  physicalWritten(hpa: number, bytes: number): void {
    for (let at = hpa; at < hpa + bytes; at = (Math.floor(at / 4096) + 1) * 4096) {
      const page = Math.floor(at / 4096)
      const end = Math.min(hpa + bytes, (page + 1) * 4096)
      if (this.holdsCode(page, at % 4096, end - at)) this.dropPage(page)
    }
  }

  private dropAll(): void {
    for (const page of [...this.byPage.keys()]) this.dropRegions(page)
    this.clearJumpCache()
  }

  get usesSoftwareTlb(): boolean {
    return this.options.softwareTlb
  }
}

/** Tag of jump-cache entries for an address-space generation and a mode. */
export const contextTag = (generation: number, mode: number): number => (generation << MODE_BITS) | mode
