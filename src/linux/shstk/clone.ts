import type { Task } from '../task.ts'
import { areaSize, mapArea } from './area.ts'
import { writeSavedSsp } from './registers.ts'
import { ARCH_SHSTK_SHSTK, type ThreadShadowStack } from './thread.ts'

/** Shadow stack of a new thread (LUX-35). */

const CLONE_VM = 0x100
const CLONE_VFORK = 0x4000

/**
 * What a child of `parent` gets: an area of its own if both run in one address space, nothing if the parent waits for it
 * (CLONE_VFORK), the copy of the parent's if it has a copy of the address space. -errno when there is no room for an area.
 */
export function inheritShadowStack(parent: Task, flags: number, stackSize: number): ThreadShadowStack | number {
  const inherited = { ...parent.shstk }
  if ((inherited.features & ARCH_SHSTK_SHSTK) === 0) return inherited
  if ((flags & CLONE_VFORK) !== 0) return { ...inherited, base: 0, size: 0 }
  if ((flags & CLONE_VM) === 0) return inherited
  const size = areaSize(parent, stackSize)
  const base = mapArea(parent, 0, size)
  return base < 0 ? base : { ...inherited, base, size }
}

/** The child's SSP, once its extended state is copied from the parent's. */
export function startShadowStack(child: Task, flags: number): void {
  const { shstk } = child
  if ((shstk.features & ARCH_SHSTK_SHSTK) === 0) return
  if ((flags & (CLONE_VM | CLONE_VFORK)) === CLONE_VM) writeSavedSsp(child, shstk.base + shstk.size)
}
