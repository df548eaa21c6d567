u runnerd - "runs programs in boxes" /var/lib/runnerd
