import type { CpuModel } from '../isa/cpu-model.ts'
import { AddressSpace } from './address-space.ts'
import { CodeCache, type EngineOptions } from './code-cache.ts'
import { MachineCounters } from './counters.ts'
import { Decoded, InstructionDecoder } from './decoder/decoder.ts'
import { CPUID_FEATURE_NAMES, MNEMONIC_NAMES } from './decoder/iced-tables.ts'
import { ExecutionContext } from './execution-context.ts'
import './instructions/all.ts'
import { lacksFeature } from './instruction-features.ts'
import { MachineMemory } from './machine-memory.ts'
import { CONTEXT_BASE, CONTEXT_COUNT, CONTEXT_STRIDE, MAX_PROCESSORS, PROCESSOR_BASE, PROCESSOR_STRIDE } from './memory-map.ts'
import { PageWalk } from './page-walk.ts'
import { Processor } from './processor.ts'
import type { SecondStage } from './second-stage.ts'
import { SlowPaths } from './slow-paths.ts'
import { SoftwareTlbPool } from './software-tlb.ts'
import { bitnessOf } from './translate/region.ts'
import { UnsupportedLog } from './unsupported-log.ts'

export interface MachineOptions {
  model: CpuModel
  /** Logical processors, 1..16. Default 2. */
  processors?: number
  /** Hyper-threads of a core, Intel models only: their ids follow each other. Default 1. */
  threadsPerCore?: 1 | 2
  /** Bytes of RAM, a multiple of 64 KiB, at most 4 GiB - 32 MiB. Default 1 GiB (committed when touched). */
  physicalBytes?: number
  /** The compiled iced_x86_bg.wasm of iced-x86 1.21.0. */
  decoder: WebAssembly.Module
  engine?: EngineOptions
  /** Seed of RDRAND and RDSEED, 32 bits. Default 1. */
  seed?: number
}

/** One physical machine: memory, logical processors, the engine. It knows nothing of Linux or KVM. */
export class Machine {
  readonly mem: MachineMemory
  readonly model: CpuModel
  readonly processors: Processor[] = []
  readonly threadsPerCore: number
  readonly tlbs: SoftwareTlbPool
  readonly pageWalk: PageWalk
  readonly code: CodeCache
  readonly slow: SlowPaths
  readonly decoder: InstructionDecoder
  readonly unsupported: UnsupportedLog
  /** Float operations may run natively (EngineOptions.nativeFloat). */
  readonly nativeFloat: boolean
  readonly counters = new MachineCounters()
  /** Instructions retired on all processors since the machine was made. With `idle` the virtual clock. */
  retired = 0
  /** Time that passed while no processor ran, in instructions: the time-stamp counters go on. */
  idle = 0
  private randomState: number
  private readonly freeContexts: number[] = []
  private nextContext = 0

  constructor(options: MachineOptions) {
    const count = options.processors ?? 2
    if (count < 1 || count > MAX_PROCESSORS) throw new RangeError(`${count} processors: 1 to ${MAX_PROCESSORS}`)
    this.model = options.model
    this.threadsPerCore = options.threadsPerCore ?? 1
    if (count % this.threadsPerCore !== 0) throw new RangeError(`${count} processors, ${this.threadsPerCore} a core`)
    if (this.threadsPerCore > 1 && this.model.vendor !== 'GenuineIntel')
      throw new RangeError(`${this.model.spec}: hyper-threads are modelled of Intel processors only`)
    this.nativeFloat = options.engine?.nativeFloat ?? true
    this.randomState = (options.seed ?? 1) | 0
    this.mem = new MachineMemory(options.physicalBytes ?? 1 << 30)
    this.tlbs = new SoftwareTlbPool(this.mem)
    this.pageWalk = new PageWalk(this.mem, options.model.maxPhysAddr)
    this.decoder = new InstructionDecoder(options.decoder)
    this.slow = new SlowPaths(this)
    this.unsupported = new UnsupportedLog()
    this.code = new CodeCache(this.mem, this.tlbs, this.decoder, this.slow.imports(), options.engine ?? {})
    this.code.compiler.site.isAvailable = () => this.instructionIsAvailable()
    this.tlbs.onWrap = () => this.code.clearJumpCache()
    for (let i = 0; i < count; i++) this.processors.push(new Processor(this, i, PROCESSOR_BASE + i * PROCESSOR_STRIDE))
    const coreOf = ({ id }: Processor) => Math.floor(id / this.threadsPerCore)
    for (const each of this.processors) each.core = this.processors.filter((other) => coreOf(other) === coreOf(each))
  }

  /** A zeroed execution context. RangeError when all 4096 are in use. */
  newContext(): ExecutionContext {
    const base = this.freeContexts.pop() ?? CONTEXT_BASE + this.nextContext++ * CONTEXT_STRIDE
    if (base >= CONTEXT_BASE + CONTEXT_COUNT * CONTEXT_STRIDE)
      throw new RangeError(`more than ${CONTEXT_COUNT} execution contexts`)
    this.mem.u8.fill(0, base, base + CONTEXT_STRIDE)
    const ctx = new ExecutionContext(this.mem, base)
    ctx.rflags = 2
    return ctx
  }
  /** How many different ones there have been. */
  get contextsMade(): number {
    return this.nextContext
  }
  freeContext(ctx: ExecutionContext): void {
    this.freeContexts.push(ctx.base)
  }

  /** 32 bits of the seeded generator (mulberry32). */
  random32(): number {
    this.randomState = (this.randomState + 0x6d2b79f5) | 0
    let t = Math.imul(this.randomState ^ (this.randomState >>> 15), 1 | this.randomState)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return t ^ (t >>> 14)
  }

  newAddressSpace(secondStage: SecondStage | null = null): AddressSpace {
    return new AddressSpace(this.tlbs, secondStage)
  }

  /** The kernel, a device or an ioctl wrote physical memory [hpa, hpa + bytes): compiled code of it goes. */
  physicalWritten(hpa: number, bytes: number): void {
    this.code.physicalWritten(hpa, bytes)
  }

  private readonly availability = new Map<number, boolean>()
  /** Whether the model's CPUID has every feature the instruction decoded last needs. */
  private instructionIsAvailable(): boolean {
    const d = this.code.compiler.site.d
    let known = this.availability.get(d.code)
    if (known === undefined) {
      known = lacksFeature(d.features, this.model) === null
      this.availability.set(d.code, known)
    }
    return known
  }

  /** Notes the instruction whose bytes are at wasm offset `at` as one that raised #UD for want of support. */
  noteUnsupported(at: number, length: number, mode: number, rip: bigint): void {
    const bytes = this.mem.u8.slice(at, at + length)
    const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
    this.decoder.setWindow(bitnessOf(mode), bytes, 0, length)
    const d = new Decoded()
    const known = this.decoder.decode(0, d)
    const features = known ? d.features.map((f) => CPUID_FEATURE_NAMES[f]) : []
    const reason = !known ? 'invalid' : lacksFeature(d.features, this.model) !== null ? 'model' : 'engine'
    this.unsupported.note({
      mnemonic: known ? MNEMONIC_NAMES[d.mnemonic].toUpperCase() : '(invalid)',
      bytes: hex,
      features,
      reason,
      rip,
    })
  }
}
