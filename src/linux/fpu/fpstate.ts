import { FCW_INIT, FXSAVE, MXCSR_INIT, XCOMP_BV_OFFSET, XSTATE_BV_OFFSET } from '../../isa/xfeatures.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import type { Costs } from '../costs.ts'
import type { KernelHeap } from '../mm/heap.ts'
import { kernelSize, type XstateConfig } from './config.ts'

/** Bytes before the image in a buffer: what struct fpstate keeps there, rounded up to the image's alignment (GFPU-01). */
export const FPSTATE_HEADER = 64

/** The kernel, as far as a buffer needs it. */
export interface BufferOwner {
  readonly heap: KernelHeap
  readonly costs: Costs
}

/** One xstate buffer with what it is sized for (Linux's struct fpstate). The image lies in modelled physical memory. */
export class FpState {
  private readonly heap: KernelHeap
  private readonly costs: Costs
  private readonly hpa: number
  /** Bytes there are for the image; 0 once it is freed. */
  allocatedBytes: number
  /** Wasm offset of the XSAVE image. */
  readonly image: number
  /** Bytes that its components take beyond what was allocated: a mistake of the kernel (PERM-60). */
  shortBy = 0
  /** Compacted and standard sizes it is valid for. */
  size = 0
  userSize = 0
  /** Save mask; also XCOMP_BV. */
  xfeatures = 0
  /** User components acceptable in headers that user space supplies. */
  userXfeatures = 0
  /** IA32_XFD that belongs to it. */
  xfd = 0
  isValloc = false
  isGuest = false
  isConfidential = false
  inUse = false

  private constructor(owner: BufferOwner, hpa: number, bytes: number) {
    this.heap = owner.heap
    this.costs = owner.costs
    this.hpa = hpa
    this.allocatedBytes = bytes
    this.costs.bufferAllocated(bytes)
    this.image = PHYSICAL_BASE + hpa + FPSTATE_HEADER
  }

  /**
   * A zeroed buffer for an image of `size` bytes; null when memory is exhausted.
   * @param needed bytes that its components will take: where the kernel got its sum wrong the rest is room it knows nothing of
   */
  static allocate(owner: BufferOwner, size: number, needed: number = size): FpState | null {
    const hpa = owner.heap.allocate(FPSTATE_HEADER + Math.max(size, needed))
    return hpa === 0 ? null : new FpState(owner, hpa, size)
  }

  free(): void {
    this.heap.free(this.hpa)
    this.costs.bufferFreed(this.allocatedBytes)
    this.allocatedBytes = 0
  }

  /** Sizes and masks of a default buffer (__fpstate_reset). */
  resetToDefault(config: XstateConfig, xfd: number): void {
    this.size = config.kernelDefaultSize
    this.userSize = config.userDefaultSize
    this.xfeatures = config.kernelDefault
    this.userXfeatures = config.userDefault
    this.xfd = xfd
  }

  /** FCW, MXCSR and XCOMP_BV as a fresh image has them (fpstate_init_user). The image must be zero. */
  initImage(config: XstateConfig): void {
    const { mem } = this.heap
    this.initXcompBv(config)
    mem.u16[(this.image + FXSAVE.FCW) >>> 1] = FCW_INIT
    mem.i32[(this.image + FXSAVE.MXCSR) >>> 2] = MXCSR_INIT
  }

  initXcompBv(config: XstateConfig): void {
    this.shortBy = Math.max(0, kernelSize(config, this.xfeatures) - this.allocatedBytes)
    if (!config.compacted) return
    const { i32 } = this.heap.mem
    i32[(this.image + XCOMP_BV_OFFSET) >>> 2] = this.xfeatures
    i32[(this.image + XCOMP_BV_OFFSET + 4) >>> 2] = 0x80000000 | 0
  }

  get xstateBv(): number {
    return this.heap.mem.i32[(this.image + XSTATE_BV_OFFSET) >>> 2]
  }
  set xstateBv(value: number) {
    this.heap.mem.i32[(this.image + XSTATE_BV_OFFSET) >>> 2] = value
    this.heap.mem.i32[(this.image + XSTATE_BV_OFFSET + 4) >>> 2] = 0
  }
  get xcompBv(): number {
    return this.heap.mem.i32[(this.image + XCOMP_BV_OFFSET) >>> 2]
  }
}
