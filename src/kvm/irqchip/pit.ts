import type { Clock, Timer } from '../../linux/clock.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_pit_channel_state } from '../abi/structs.ts'

type Channel = ValueOf<typeof kvm_pit_channel_state>

/** Input clock of the 8254. */
const PIT_HZ = 1193182
export const KVM_PIT_FLAGS_HPET_LEGACY = 1
const BYTE_HIGH = 2
const WORD_LOW = 3
const WORD_HIGH = 4

const newChannel = (gate: number): Channel => ({
  count: 0x10000,
  latched_count: 0,
  count_latched: 0,
  status_latched: 0,
  status: 0,
  read_state: 0,
  write_state: 0,
  write_latch: 0,
  rw_mode: 0,
  mode: 0xff,
  bcd: 0,
  gate,
  count_load_time: 0n,
})

/** The in-kernel 8254 at ports 40..43 and the speaker port 61. Channel 0 drives GSI 0. Linux 6.12 arch/x86/kvm/i8254.c. */
export class Pit {
  channels: Channel[] = [newChannel(1), newChannel(1), newChannel(0)]
  flags = 0
  reinject = true
  private speaker = 0
  private readonly clock: Clock
  private readonly tick: () => void
  private timer: Timer | null = null

  /** @param tick channel 0's output rose: pulse the interrupt line */
  constructor(clock: Clock, tick: () => void) {
    this.clock = clock
    this.tick = tick
  }

  /** Input clocks since the channel was loaded. */
  private elapsed(channel: Channel): number {
    return Math.floor(((this.clock.now - Number(channel.count_load_time)) * PIT_HZ) / 1e9)
  }

  private currentCount(channel: Channel): number {
    const { count } = channel
    const elapsed = this.elapsed(channel)
    if (channel.mode === 3) return count - ((2 * elapsed) % count)
    if (channel.mode === 2) return count - (elapsed % count)
    return (count - elapsed) & 0xffff
  }

  private output(channel: Channel): number {
    const { count } = channel
    const elapsed = this.elapsed(channel)
    switch (channel.mode) {
      case 1:
        return elapsed < count ? 1 : 0
      case 2:
        return elapsed % count === 0 && elapsed !== 0 ? 1 : 0
      case 3:
        return elapsed % count < (count + 1) >> 1 ? 1 : 0
      case 4:
      case 5:
        return elapsed === count ? 1 : 0
      default:
        return elapsed >= count ? 1 : 0
    }
  }

  load(index: number, value: number): void {
    const channel = this.channels[index]
    channel.count = value === 0 ? 0x10000 : value
    channel.count_load_time = BigInt(this.clock.now)
    if (index === 0) this.restart()
  }

  /** Starts the interrupt of channel 0: one-shot in modes 0, 1, 4; periodic in 2 and 3. */
  restart(): void {
    if (this.timer !== null) this.clock.cancel(this.timer)
    this.timer = null
    const { mode, count } = this.channels[0]
    if (this.flags & KVM_PIT_FLAGS_HPET_LEGACY || mode > 4) return
    const period = Math.max(1, Math.floor((count * 1e9) / PIT_HZ))
    this.arm(this.clock.now + period, mode === 2 || mode === 3 ? period : 0)
  }

  private arm(deadline: number, period: number): void {
    this.timer = this.clock.arm(deadline, () => {
      this.timer = null
      if (period > 0) this.arm(deadline + period, period)
      this.tick()
    })
  }

  stop(): void {
    if (this.timer !== null) this.clock.cancel(this.timer)
    this.timer = null
  }

  write(port: number, value: number): boolean {
    if (port === 0x61) {
      this.speaker = (value >> 1) & 1
      this.setGate(2, value & 1)
      return true
    }
    if (port < 0x40 || port > 0x43) return false
    if (port === 0x43) this.writeControl(value)
    else this.writeCounter(port & 3, value)
    return true
  }

  private setGate(index: number, value: number): void {
    const channel = this.channels[index]
    if (channel.gate < value && channel.mode !== 0 && channel.mode !== 4) channel.count_load_time = BigInt(this.clock.now)
    channel.gate = value
  }

  private writeControl(value: number): void {
    const index = value >> 6
    if (index === 3) {
      this.readBack(value)
      return
    }
    const access = (value >> 4) & 3
    if (access === 0) {
      this.latchCount(this.channels[index])
      return
    }
    const channel = this.channels[index]
    channel.rw_mode = channel.read_state = channel.write_state = access
    channel.mode = (value >> 1) & 7
    if (channel.mode > 5) channel.mode -= 4
    channel.bcd = value & 1
    if (index === 0) this.stop()
  }

  private readBack(value: number): void {
    for (let index = 0; index < 3; index++) {
      if ((value & (2 << index)) === 0) continue
      const channel = this.channels[index]
      if ((value & 0x20) === 0) this.latchCount(channel)
      if ((value & 0x10) !== 0 || channel.status_latched) continue
      channel.status = (this.output(channel) << 7) | (channel.rw_mode << 4) | (channel.mode << 1) | channel.bcd
      channel.status_latched = 1
    }
  }

  private latchCount(channel: Channel): void {
    if (channel.count_latched) return
    channel.latched_count = this.currentCount(channel) & 0xffff
    channel.count_latched = channel.rw_mode
  }

  private writeCounter(index: number, value: number): void {
    const channel = this.channels[index]
    switch (channel.write_state) {
      case BYTE_HIGH:
        this.load(index, value << 8)
        break
      case WORD_LOW:
        channel.write_latch = value
        channel.write_state = WORD_HIGH
        break
      case WORD_HIGH:
        this.load(index, channel.write_latch | (value << 8))
        channel.write_state = WORD_LOW
        break
      default:
        this.load(index, value)
    }
  }

  /** Byte at a port, -1 if the port is not ours. */
  read(port: number): number {
    if (port === 0x61) {
      const refresh = Math.floor(this.clock.now / 15085) & 1
      return (this.speaker << 1) | this.channels[2].gate | (this.output(this.channels[2]) << 5) | (refresh << 4)
    }
    if (port < 0x40 || port > 0x42) return port === 0x43 ? 0 : -1
    return this.readCounter(this.channels[port & 3])
  }

  private readCounter(channel: Channel): number {
    if (channel.status_latched) {
      channel.status_latched = 0
      return channel.status
    }
    if (channel.count_latched) {
      const half = channel.count_latched
      channel.count_latched = half === WORD_LOW ? WORD_HIGH : 0
      return half === BYTE_HIGH || half === WORD_HIGH ? channel.latched_count >> 8 : channel.latched_count & 0xff
    }
    const count = this.currentCount(channel)
    switch (channel.read_state) {
      case BYTE_HIGH:
        return (count >> 8) & 0xff
      case WORD_LOW:
        channel.read_state = WORD_HIGH
        return count & 0xff
      case WORD_HIGH:
        channel.read_state = WORD_LOW
        return (count >> 8) & 0xff
      default:
        return count & 0xff
    }
  }
}
