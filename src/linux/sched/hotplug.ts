import { EINVAL } from '../errno.ts'
import type { TextFile } from '../fs/text-file.ts'
import type { MaybePreemptible } from '../preemption.ts'
import { type HostCpu, pinnedProcessor } from '../processor.ts'
import { detectionGoesOffline } from '../splitlock/boot.ts'
import { startProcessor } from '../start-processor.ts'
import type { Task } from '../task.ts'
import { moveAway } from './affinity.ts'

/**
 * Processors that go offline and come back, as programs see it: /sys/devices/system/cpu/cpuN/online. Linux 6.12 kernel/cpu.c,
 * drivers/base/core.c online_store(). Processor 0 has no such file (arch_cpu_is_hotpluggable()), so that there is always one online:
 * EBUSY of cpu_down() cannot happen.
 */
export function onlineFile(cpu: HostCpu): TextFile {
  return {
    mode: 0o644,
    size: 4096,
    read: () => `${cpu.isOnline ? 1 : 0}\n`,
    write: (task, text) => {
      const online = parseBoolean(text)
      if (online === null) return -EINVAL
      if (online === cpu.isOnline) return 0
      return online ? bringUp(cpu) : takeDown(cpu, task)
    },
  }
}

/** lib/kstrtox.c kstrtobool(): the first letter counts, and the second of on and off. */
function parseBoolean(text: string): boolean | null {
  if (/^([1yt]|on)/i.test(text)) return true
  return /^([0nf]|of)/i.test(text) ? false : null
}

/** Everybody leaves `cpu`, the caller as soon as it can; then what is to be done there for the last time. */
function takeDown(cpu: HostCpu, caller: Task): MaybePreemptible<number> {
  const { kernel } = cpu
  kernel.onlineMask &= ~(1 << cpu.id)
  cpu.offlineSince = kernel.clock.now
  kernel.scheduler.vacate(cpu, caller)
  detectionGoesOffline(pinnedProcessor(cpu))
  kernel.log.write(`smpboot: CPU ${cpu.id} is now offline`)
  return caller.cpu === cpu ? moveAway(caller) : 0
}

function bringUp(cpu: HostCpu): number {
  const { kernel } = cpu
  kernel.log.write(`smpboot: Booting Node 0 Processor ${cpu.id} APIC 0x${cpu.id.toString(16)}`)
  cpu.offlineTime += kernel.clock.now - cpu.offlineSince
  kernel.onlineMask |= 1 << cpu.id
  startProcessor(pinnedProcessor(cpu))
  return 0
}
