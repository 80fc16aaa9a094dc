import { XFEATURE_MASK_FPSSE } from '../../isa/xfeatures.ts'
import { compactedOffset } from '../../isa/xstate-layout.ts'
import type { Kernel } from '../kernel.ts'
import type { Task } from '../task.ts'
import type { FpState } from './fpstate.ts'

/**
 * An image that the kernel made too small for its components (PERM-60) is used: the modelled host tells it in its log as KASAN
 * does, the first time in each function, and goes on. Nothing else is harmed: the model leaves room behind such an image. A real
 * kernel without KASAN says nothing, and what lies behind the image is overwritten; with it, the copies are seen and the XSAVE
 * instructions are not.
 *
 * @param moved components that are read or written
 */
export function reportOverrun(kernel: Kernel, fpstate: FpState, access: OverrunAccess, moved: number): void {
  const { layout } = kernel.xstate
  for (let left = moved & fpstate.xfeatures & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
    const nr = 31 - Math.clz32(left & -left)
    const offset = compactedOffset(layout, fpstate.xfeatures, nr)
    const size = layout.sizes[nr]
    if (offset + size <= fpstate.allocatedBytes) continue
    kernel.overruns++
    log(kernel, fpstate, access, { nr, offset, size })
    return
  }
}

export interface OverrunAccess {
  readonly kind: 'Read' | 'Write'
  readonly function: string
  /** Who runs, where it is known. */
  readonly task: Task | null
}

function log(kernel: Kernel, fpstate: FpState, access: OverrunAccess, at: { nr: number; offset: number; size: number }): void {
  const { kind, task } = access
  const first = `BUG: KASAN: vmalloc-out-of-bounds in ${access.function}`
  if (!kernel.log.once(first, first)) return
  const needs = fpstate.allocatedBytes + fpstate.shortBy
  kernel.log.write(
    `${kind} of size ${at.size} at byte ${at.offset} of the image${task === null ? '' : ` by task ${task.comm}/${task.tid}`}`,
  )
  kernel.log.write(
    `The image has ${fpstate.allocatedBytes} bytes, its components 0x${fpstate.xfeatures.toString(16)} take ${needs}: ${fpstate.shortBy} bytes short (PERM-60)`,
  )
  kernel.trace.event?.('kasan_report', task, { function: access.function, component: at.nr, short_by: fpstate.shortBy })
}
