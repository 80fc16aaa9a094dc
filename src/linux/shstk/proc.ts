import type { Task } from '../task.ts'
import { ARCH_SHSTK_SHSTK, ARCH_SHSTK_WRSS } from './thread.ts'

/** The lines of /proc/PID/status of a kernel built with user shadow stacks (arch_proc_pid_thread_features). */
export function threadFeatureLines(task: Task): [string, string][] {
  if (!task.kernel.profile.cet.userShadowStack) return []
  const { features, lockedLo } = task.shstk
  return [
    ['x86_Thread_features', namesOf(features)],
    ['x86_Thread_features_locked', namesOf(lockedLo)],
  ]
}

function namesOf(features: number): string {
  return `${features & ARCH_SHSTK_SHSTK ? 'shstk ' : ''}${features & ARCH_SHSTK_WRSS ? 'wrss ' : ''}`
}
